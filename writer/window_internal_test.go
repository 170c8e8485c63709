package writer

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// plainWindow is the definition: when each fingerprint was last seen.
type plainWindow struct {
	span int64
	seen map[uint64]int64
}

func (w *plainWindow) see(f uint64, tick int64) bool {
	if f == 0 {
		return false
	}
	last, ok := w.seen[f]
	w.seen[f] = tick
	return ok && tick-last <= w.span
}

func TestWindowDecidesLikeItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := quantiser{quantum: 1, span: rapid.Int64Range(1, 40).Draw(t, "span")}
		w := newWindow(clock, newBudget(1<<40))
		model := plainWindow{clock.span, map[uint64]int64{}}
		tick := rapid.Int64Range(0, 1<<41).Draw(t, "start")
		pool := rapid.Uint64Range(2, 20_000).Draw(t, "ids")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		narrow := rapid.Bool().Draw(t, "narrow")
		for range rapid.IntRange(1, 60).Draw(t, "batches") {
			tick += rapid.Int64Range(0, clock.span/4+1).Draw(t, "step") * rapid.Int64Range(0, 6).Draw(t, "times")
			fingerprints := make([]uint64, rapid.IntRange(0, 900).Draw(t, "events"))
			for i := range fingerprints {
				// Few ids, spread over all segments or crowded into one.
				fingerprints[i] = r.Uint64N(pool) * 0x9E3779B97F4A7C15
				if narrow {
					fingerprints[i] >>= 9
				}
			}
			checkBatch(t, w, &model, fingerprints, tick)
		}
	})
}

func checkBatch(t *rapid.T, w *window, model *plainWindow, fingerprints []uint64, tick int64) {
	if !w.reserve(fingerprints, tick) {
		t.Fatal("no room within the budget")
	}
	duplicate := make([]bool, len(fingerprints))
	found := w.see(fingerprints, tick, duplicate)
	for i, f := range fingerprints {
		want := model.see(f, tick)
		if duplicate[i] != want {
			t.Fatalf("got duplicate %v for %#x at tick %d, want %v", duplicate[i], f, tick, want)
		}
		if want {
			found--
		}
	}
	if found != 0 {
		t.Fatalf("number of duplicates is off by %d", found)
	}
	used, bytes := 0, int64(0)
	for i := range w.segments {
		used += w.segments[i].used
		bytes += int64(w.segments[i].buckets()) * bucketBytes
	}
	if used != w.kept || bytes != w.bytes || w.budget.taken.Load() != bytes {
		t.Fatalf("got %d entries in %d bytes, counted %d in %d, budget %d", used, bytes, w.kept, w.bytes, w.budget.taken.Load())
	}
}

func TestLargeSegmentsTellEveryFingerprintApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := segment{first: rapid.Uint64Range(0, 255).Draw(t, "byte") << 56}
		s.reshape(pageBuckets * rapid.IntRange(leastLarge/pageBuckets, 5000).Draw(t, "pages"))
		f := s.first | rapid.Uint64Range(0, 1<<56-1).Draw(t, "fingerprint")
		home, rest := s.place(f)
		if home >= uint64(s.buckets()) || rest >= 1<<48 {
			t.Fatalf("got home %d and rest %#x of %#x in %d buckets", home, rest, f, s.buckets())
		}
		if got := s.restore(home, rest); got != f {
			t.Fatalf("got %#x back, put %#x", got, f)
		}
	})
}

// TestSegmentsHoldWhatTheyPromise: up to the fullest, with hashes as they are and with such as all go to one place.
func TestSegmentsHoldWhatTheyPromise(t *testing.T) {
	for _, buckets := range []int{2, 255, leastLarge, 5 * pageBuckets, 60 * pageBuckets} {
		for name, spread := range map[string]uint64{"even": 1<<56 - 1, "crowded": 1<<40 - 1} {
			s := segment{first: 7 << 56}
			s.reshape(buckets)
			r := rand.New(rand.NewPCG(uint64(buckets), 5))
			held := map[uint64]bool{}
			for len(held) < s.most() {
				f := s.first | r.Uint64()&spread | 1
				if known, _ := s.put(f, 9); known != held[f] {
					t.Fatalf("%d buckets, %s: got %v for %#x, which is entry %d", buckets, name, known, f, len(held))
				}
				held[f] = true
			}
			for f := range held {
				if known, before := s.put(f, 12); !known || before != 3 {
					t.Fatalf("%d buckets, %s: %#x is forgotten", buckets, name, f)
				}
			}
			if s.used != len(held) || s.live(12, 0) != len(held) {
				t.Errorf("%d buckets, %s: got %d entries, %d of them live, want %d", buckets, name, s.used, s.live(12, 0), len(held))
			}
			if name == "even" && len(s.spill) > len(held)/50 {
				t.Errorf("%d buckets: got %d of %d entries beyond the table", buckets, len(s.spill), len(held))
			}
		}
	}
}

func TestWindowNeverForgetsAtItsBound(t *testing.T) {
	clock := quantiser{quantum: 1, span: 100}
	b := newBudget(200_000)
	w := newWindow(clock, b)
	r := rand.New(rand.NewPCG(1, 2))
	var kept []uint64
	batch := make([]uint64, 100)
	for {
		for i := range batch {
			batch[i] = r.Uint64() | 1
		}
		if !w.reserve(batch, 5) {
			break
		}
		w.see(batch, 5, make([]bool, len(batch)))
		kept = append(kept, batch...)
	}
	if b.taken.Load() > b.limit {
		t.Errorf("got %d bytes taken, the limit is %d", b.taken.Load(), b.limit)
	}
	if perID := float64(b.limit) / float64(len(kept)); perID > 20 {
		t.Errorf("got %.1f bytes an id at the bound, want at most 20", perID)
	}
	duplicate := make([]bool, len(kept))
	if got := w.see(kept, 5+clock.span, duplicate); got != len(kept) {
		t.Errorf("got %d of %d ids remembered", got, len(kept))
	}
	if !w.reserve(kept[:100], 6+2*clock.span) {
		t.Fatal("no room after everything has expired")
	}
	if got := w.see(kept[:100], 6+2*clock.span, duplicate); got != 0 {
		t.Errorf("got %d duplicates of expired ids, want 0", got)
	}
	w.clear()
	if b.taken.Load() != 0 {
		t.Errorf("got %d bytes still taken from the budget, want 0", b.taken.Load())
	}
}

func TestWindowShrinksAfterABurst(t *testing.T) {
	clock := quantiser{quantum: 1, span: 600}
	w := newWindow(clock, newBudget(1<<40))
	see := func(first, n uint64, tick int64) {
		batch := make([]uint64, n)
		for i := range batch {
			batch[i] = (first + uint64(i)) * 0x9E3779B97F4A7C15
		}
		if !w.reserve(batch, tick) {
			t.Fatal("no room within the budget")
		}
		w.see(batch, tick, make([]bool, n))
	}
	see(1, 200_000, 1)
	burst := w.bytes
	for tick := int64(2); tick < 1600; tick++ {
		see(uint64(1_000_000+tick*10), 10, tick)
	}
	if w.bytes > burst/10 {
		t.Errorf("got %d bytes after a burst of %d, want less than a tenth", w.bytes, burst)
	}
	if w.kept > 600*10*5/4+100 {
		t.Errorf("got %d entries kept of %d that count", w.kept, 600*10)
	}
}

func TestQuantiserKeepsAtLeastTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.Int64Range(1, 86_400_000).Draw(t, "window")) * time.Millisecond
		q := newQuantiser(window)
		first := rapid.Int64Range(0, 1<<42).Draw(t, "first")
		later := first + rapid.Int64Range(0, 3*window.Milliseconds()).Draw(t, "gap")
		duplicate := q.tick(later)-q.tick(first) <= q.span
		if gap := later - first; gap <= window.Milliseconds() && !duplicate {
			t.Fatalf("got no duplicate after %d ms within a window of %s", gap, window)
		} else if gap >= window.Milliseconds()+2*q.quantum && duplicate {
			t.Fatalf("got a duplicate after %d ms with a window of %s", gap, window)
		}
		if oldest := q.oldest(later); (q.tick(first) >= oldest) != duplicate {
			t.Fatalf("got oldest tick %d for %d, at odds with duplicate = %v", oldest, later, duplicate)
		}
	})
}

func TestMarksFindTheFirstBatchOfTheWindow(t *testing.T) {
	var m marks
	for i, tick := range []int64{3, 3, 4, 9, 9, 12} {
		m.add(tick, uint64(10+i))
	}
	for _, c := range []struct {
		oldest int64
		want   uint64
	}{{0, 10}, {3, 10}, {4, 12}, {5, 13}, {9, 13}, {10, 15}, {13, 99}} {
		if got := m.from(c.oldest, 99); got != c.want {
			t.Errorf("got offset %d for tick %d, want %d", got, c.oldest, c.want)
		}
	}
	m.forget(9)
	if got := len(m.list); got != 2 {
		t.Errorf("got %d marks, want 2", got)
	}
}

// A window that finds no room takes nothing and lets go of what has expired: else two of them would wait for each other for ever.
func TestWindowWithoutRoomHoldsNothingBack(t *testing.T) {
	clock := quantiser{quantum: 1, span: 100}
	b := newBudget(150_000)
	r := rand.New(rand.NewPCG(3, 4))
	ids := func(n int) []uint64 {
		out := make([]uint64, n)
		for i := range out {
			out[i] = r.Uint64() | 1
		}
		return out
	}
	see := func(w *window, ids []uint64, tick int64) bool {
		if !w.reserve(ids, tick) {
			return false
		}
		w.see(ids, tick, make([]bool, len(ids)))
		return true
	}
	first, second := newWindow(clock, b), newWindow(clock, b)
	old := ids(3000)
	if !see(first, old, 1) || !see(first, old[:10], 90) {
		t.Fatal("no room within the budget")
	}
	before := b.taken.Load()
	many := ids(4000)
	for range 3 {
		if see(second, many, 1) {
			t.Fatal("got room beyond the budget")
		}
		if got := b.taken.Load(); got != before {
			t.Fatalf("got %d bytes taken after a failure, want %d as before", got, before)
		}
	}
	b.taken.Add(b.limit - before) // others use up the rest
	if !see(first, ids(1000), 102) {
		t.Error("got no room although nearly all ids have expired")
	}
	if got := b.taken.Load(); got > b.limit {
		t.Errorf("got %d bytes taken, the limit is %d", got, b.limit)
	}
	if duplicate := make([]bool, 10); !first.reserve(old[:10], 103) || first.see(old[:10], 103, duplicate) != 10 {
		t.Error("ids that count were forgotten")
	}
}
