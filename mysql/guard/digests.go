package guard

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Digest is what is known of all statements of one shape and class.
type Digest struct {
	ID           string    `json:"id"`
	Class        Class     `json:"class"`
	Text         string    `json:"text"`
	Count        int64     `json:"count"`
	Errors       int64     `json:"errors"` // those that were killed included
	Killed       int64     `json:"killed"`
	TotalSeconds float64   `json:"total_seconds"`
	MaxSeconds   float64   `json:"max_seconds"`
	P50Seconds   float64   `json:"p50_seconds"` // percentiles are accurate to a quarter
	P95Seconds   float64   `json:"p95_seconds"`
	P99Seconds   float64   `json:"p99_seconds"`
	MaxExamined  int64     `json:"max_rows_examined"` // of those that ran for long
	Last         time.Time `json:"last"`
}

// record is one statement that ended.
type record struct {
	took           time.Duration
	at             time.Time
	failed, killed bool
	examined       int64
}

// digests is a bounded table. It is safe for concurrent use.
type digests struct {
	mu    sync.Mutex // guards table
	table *simplelru.LRU[uint64, *tally]
}

// Durations are counted in buckets that grow by a quarter, from firstBucket on.
const (
	firstBucket = 50 * time.Microsecond
	buckets     = 72 // to 8 minutes
)

type tally struct {
	digest  Digest
	buckets [buckets]uint32
}

func newDigests(size int) *digests {
	table, err := simplelru.NewLRU[uint64, *tally](size, nil)
	if err != nil {
		panic(err) // of a size below 1
	}
	return &digests{table: table}
}

// add counts a statement and returns its digest's id and text.
func (d *digests) add(class Class, text string, r record) (out struct{ ID, Text string }) {
	normalised := Normalise(text)
	hash := digestHash(class, normalised)
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.table.Get(hash)
	if !ok {
		t = &tally{digest: Digest{ID: strconv.FormatUint(hash, 16), Class: class, Text: normalised}}
		d.table.Add(hash, t)
	}
	t.add(r)
	out.ID, out.Text = t.digest.ID, t.digest.Text
	return out
}

func (t *tally) add(r record) {
	x := &t.digest
	x.Count++
	if r.failed {
		x.Errors++
	}
	if r.killed {
		x.Killed++
	}
	x.TotalSeconds += r.took.Seconds()
	x.MaxSeconds = max(x.MaxSeconds, r.took.Seconds())
	x.MaxExamined = max(x.MaxExamined, r.examined)
	x.Last = r.at.UTC()
	t.buckets[bucketOf(r.took)]++
}

func bucketOf(took time.Duration) int {
	bound := float64(firstBucket)
	for i := range buckets - 1 {
		if float64(took) <= bound {
			return i
		}
		bound *= 1.25
	}
	return buckets - 1
}

// quantile returns the upper bound of the bucket that holds a share of the statements, but no more than the longest.
func (t *tally) quantile(share float64) float64 {
	rank := int64(share*float64(t.digest.Count) + 0.5)
	bound, seen := firstBucket.Seconds(), int64(0)
	for _, n := range t.buckets {
		if seen += int64(n); seen >= max(rank, 1) {
			break
		}
		bound *= 1.25
	}
	return min(bound, t.digest.MaxSeconds)
}

func (d *digests) list() []Digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Digest, 0, d.table.Len())
	for _, t := range d.table.Values() {
		x := t.digest
		x.P50Seconds, x.P95Seconds, x.P99Seconds = t.quantile(0.5), t.quantile(0.95), t.quantile(0.99)
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Digest) int {
		return cmp.Or(cmp.Compare(b.TotalSeconds, a.TotalSeconds), cmp.Compare(a.ID, b.ID))
	})
	return out
}
