package writer_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/writer"
)

// letters reads the dead letters of a partition, oldest first.
func (r *rig) letters(t *testing.T, p int) []writer.DeadLetter {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(r.dir, "partition-"+string(rune('0'+p)), "*"))
	if err != nil {
		t.Fatal(err)
	}
	var out []writer.DeadLetter
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var l writer.DeadLetter
		if err := json.Unmarshal(data, &l); err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
		out = append(out, l)
	}
	return out
}

// misplaced is a batch with a key under a hash that is not its own.
func misplaced() []byte {
	var b event.BatchBuilder
	e := viewOf("elsewhere", "m1")
	b.Add(&e, cluster.KeyHash("view", "another"), 77)
	return b.AppendTo(nil)
}

func TestBatchesThatCannotBeCountedAreSetAside(t *testing.T) {
	damaged := batch(viewOf("k", "x"))
	damaged[len(damaged)-1] ^= 1
	for _, c := range []struct {
		name, reason string
		data         []byte
	}{
		{"nothing", "undecodable", nil},
		{"garbage", "undecodable", []byte("this is no batch")},
		{"damaged", "undecodable", damaged},
		{"misplaced", "misplaced", misplaced()},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, "w1")
				r.log.append(0, batch(viewOf("a", "1")))
				bad := r.log.append(0, c.data)
				r.log.append(0, batch(viewOf("a", "2"), viewOf("a", "1")))
				w1 := r.start(t, "w1")
				defer w1.stop()
				if diff := r.settled(5*time.Second, map[uint64]bool{bad.Offset: true}); diff != "" {
					t.Fatal(diff)
				}
				letters := r.letters(t, 0)
				if len(letters) != 1 {
					t.Fatalf("got %d dead letters, want 1", len(letters))
				}
				got, want := letters[0], writer.DeadLetter{
					Version: 1, Partition: 0, Offset: bad.Offset, AppendTime: bad.AppendTime, Incarnation: "log-1", Checksum: bad.Checksum,
					Reason: c.reason, Detail: letters[0].Detail, SetAsideAt: letters[0].SetAsideAt, Data: c.data,
				}
				if diff := cmp.Diff(want, got); diff != "" || got.Detail == "" || got.SetAsideAt.IsZero() {
					t.Errorf("dead letter %+v (-want +got):\n%s", got, diff)
				}
				if got := w1.metric(t, "dead_letters_total", "reason", c.reason); got != 1 {
					t.Errorf("got %v dead letters in the metrics, want 1", got)
				}
			})
		})
	}
}

// TestUnapplicableBatchIsFoundAmongOthers: a flush of many batches is refused for one of them; the others are all counted, and no more
// than once, although the attempt with the refused rows may still be under way somewhere (INV-1).
func TestUnapplicableBatchIsFoundAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		r.shard.poison = func(row wire.Row) bool { return strings.HasPrefix(row.Key, "poison") }
		aside := map[uint64]bool{}
		for n := range 30 {
			if n%10 == 7 {
				bad := r.log.append(0, batch(viewOf("good", "same"), viewOf("poison", ""), viewOf("good", "only here")))
				aside[bad.Offset] = true
			}
			r.log.append(0, batch(viewOf("good", "same"), viewOf("good", "")))
		}
		w1 := r.start(t, "w1")
		defer w1.stop()
		if diff := r.settled(time.Minute, aside); diff != "" {
			t.Fatal(diff)
		}
		letters := r.letters(t, 0)
		if len(letters) != len(aside) {
			t.Fatalf("got %d dead letters, want %d", len(letters), len(aside))
		}
		for _, l := range letters {
			if !aside[l.Offset] || l.Reason != "unapplicable" || !strings.Contains(l.Detail, "poison") {
				t.Errorf("got dead letter %d for %s: %s", l.Offset, l.Reason, l.Detail)
			}
		}
		// The first of that id was counted with an earlier batch.
		if diff := cmp.Diff([]int{0}, letters[0].Duplicates); diff != "" {
			t.Errorf("duplicates (-want +got):\n%s", diff)
		}
		// An id of a batch that was set aside counts as seen.
		r.log.append(0, batch(viewOf("good", "only here"), viewOf("good", "after")))
		if diff := r.settled(5*time.Second, aside); diff != "" {
			t.Error(diff)
		}
	})
}

// TestNoEarlierAttemptOutlivesADeadLetter: an attempt with the refused rows that was given up hangs in the shard, and by the time it goes
// on its rows would fit. The epoch keeps it out (INV-4).
func TestNoEarlierAttemptOutlivesADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		// Calls 1 and 3 hang, 2 and 4 are refused, 5 passes over the dead letter, slowly: 3 goes on before it, and nothing refuses its rows now.
		r.shard.poison = func(row wire.Row) bool { return row.Key == "poison" && r.shard.numCalls < 5 }
		r.shard.linger = func(call int) time.Duration {
			if call == 1 || call == 3 {
				return 5 * time.Second
			}
			return 0
		}
		r.shard.delay = func(call int) time.Duration {
			if call == 5 {
				return 10 * time.Second
			}
			return 0
		}
		aside := map[uint64]bool{r.log.append(0, batch(viewOf("poison", "p"))).Offset: true}
		w1 := r.start(t, "w1")
		defer w1.stop()
		time.Sleep(time.Minute)
		if got := len(r.letters(t, 0)); got != 1 {
			t.Fatalf("got %d dead letters, want 1", got)
		}
		if diff := r.settled(0, aside); diff != "" {
			t.Error(diff)
		}
	})
}

// TestIDsOfADeadLetterCountAsSeen: its events were accepted and are kept for a repair, so that sending one again must not count it;
// a rebuilt window knows that, too (INV-7).
func TestIDsOfADeadLetterCountAsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		data := batch(viewOf("a", "x"))
		data[40+8] = 9 // the key's index, behind the header and the fingerprint
		binary.LittleEndian.PutUint32(data[len(data)-4:], crc32.Checksum(data[:len(data)-4], crc32.MakeTable(crc32.Castagnoli)))
		r.log.append(0, data)
		w1 := r.start(t, "w1")
		r.log.append(0, batch(viewOf("a", "x"), viewOf("a", "y")))
		time.Sleep(3 * time.Second)
		w1.stop()
		w2 := r.start(t, "w1")
		defer w2.stop()
		r.log.append(0, batch(viewOf("a", "x"), viewOf("a", "z")))
		time.Sleep(3 * time.Second)
		if got := len(r.letters(t, 0)); got != 1 {
			t.Fatalf("got %d dead letters, want 1", got)
		}
		if got := r.shard.state(0).counts[cellName{"view", "a", 1}].Count; got != 2 {
			t.Errorf("got a count of %d, want 2: y and z", got)
		}
	})
}

// TestDeadLettersAreWrittenOnce: a replay finds them there and leaves them as they are.
func TestDeadLettersAreWrittenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		aside := map[uint64]bool{r.log.append(0, []byte("no batch")).Offset: true}
		r.log.append(0, batch(viewOf("a", "1")))
		w1 := r.start(t, "w1")
		if diff := r.settled(5*time.Second, aside); diff != "" {
			t.Fatal(diff)
		}
		first := r.letters(t, 0)
		r.shard.rewind(0, 100)
		time.Sleep(5 * time.Second)
		w1.kill()
		w2 := r.start(t, "w1")
		defer w2.stop()
		r.shard.rewind(0, 100)
		r.log.append(0, batch(viewOf("a", "2")))
		if diff := r.settled(10*time.Second, aside); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(first, r.letters(t, 0)); diff != "" {
			t.Errorf("dead letters after replays (-first +now):\n%s", diff)
		}
	})
}

// TestCheckpointDoesNotPassAnUnwrittenDeadLetter: without a place for it the partition waits, and goes on once there is one.
func TestCheckpointDoesNotPassAnUnwrittenDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		if err := os.WriteFile(r.dir, []byte("in the way"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.log.append(0, batch(viewOf("a", "1")))
		bad := r.log.append(0, []byte("no batch"))
		r.log.append(0, batch(viewOf("a", "2")))
		w1 := r.start(t, "w1")
		defer w1.stop()
		time.Sleep(20 * time.Second)
		if got := r.shard.state(0).checkpoint.NextOffset; got != bad.Offset {
			t.Errorf("got the checkpoint at %d, want %d, before the batch that is kept nowhere", got, bad.Offset)
		}
		if got := w1.metric(t, "partition_state", "state", "blocked"); got != 1 {
			t.Errorf("got state blocked = %v, want 1", got)
		}
		if err := os.Remove(r.dir); err != nil {
			t.Fatal(err)
		}
		if diff := r.settled(10*time.Second, map[uint64]bool{bad.Offset: true}); diff != "" {
			t.Error(diff)
		}
	})
}

// TestCheckpointDoesNotPassAnUnwrittenRefusal: the same for a batch that the shard refuses, whose rows were sent already. Neither a heartbeat
// while the partition waits nor the last flush of a stop may take it for counted.
func TestCheckpointDoesNotPassAnUnwrittenRefusal(t *testing.T) {
	for _, stops := range []bool{false, true} {
		t.Run(fmt.Sprintf("stops=%t", stops), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, "w1")
				r.shard.poison = func(row wire.Row) bool { return row.Key == "poison" }
				if err := os.WriteFile(r.dir, []byte("in the way"), 0o600); err != nil {
					t.Fatal(err)
				}
				r.log.append(0, batch(viewOf("a", "1")))
				bad := r.log.append(0, batch(viewOf("poison", "p")))
				r.log.append(0, batch(viewOf("a", "2")))
				w := r.start(t, "w1")
				time.Sleep(20 * time.Second)
				if got := w.metric(t, "partition_state", "state", "blocked"); got != 1 {
					t.Errorf("got state blocked = %v, want 1", got)
				}
				if stops {
					w.stop()
				}
				if got := r.shard.state(0).checkpoint.NextOffset; got != bad.Offset {
					t.Errorf("got the checkpoint at %d, want %d, before the batch that is kept nowhere", got, bad.Offset)
				}
				if err := os.Remove(r.dir); err != nil {
					t.Fatal(err)
				}
				if stops {
					w = r.start(t, "w1")
				}
				defer w.stop()
				if diff := r.settled(10*time.Second, map[uint64]bool{bad.Offset: true}); diff != "" {
					t.Error(diff)
				}
				if got := len(r.letters(t, 0)); got != 1 {
					t.Errorf("got %d dead letters, want 1", got)
				}
				if diff := r.shard.promises(r.log); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestStopWhileClaimingKeepsTheRefusal: the writer stops when a batch was refused and a new epoch can't be had: the batch stays uncounted.
func TestStopWhileClaimingKeepsTheRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		refused := false
		r.shard.poison = func(row wire.Row) bool {
			refused = refused || row.Key == "poison"
			return row.Key == "poison"
		}
		r.shard.noClaim = func(c wire.Checkpoint) bool { return refused && c.Epoch > 1 }
		bad := r.log.append(0, batch(viewOf("poison", "p")))
		w := r.start(t, "w1")
		time.Sleep(10 * time.Second)
		w.stop()
		if got := r.shard.state(0).checkpoint.NextOffset; got != bad.Offset {
			t.Errorf("got the checkpoint at %d, want %d, before the batch that is kept nowhere", got, bad.Offset)
		}
		r.shard.noClaim = nil
		w = r.start(t, "w1")
		defer w.stop()
		if diff := r.settled(10*time.Second, map[uint64]bool{bad.Offset: true}); diff != "" {
			t.Error(diff)
		}
		if got := len(r.letters(t, 0)); got != 1 {
			t.Errorf("got %d dead letters, want 1", got)
		}
	})
}

// TestFailedClaimDoesNotLoseTheRefusal: the shard goes away while a refused batch is looked for.
func TestFailedClaimDoesNotLoseTheRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		r.shard.poison = func(row wire.Row) bool { return row.Key == "poison" }
		calls := 0
		r.shard.fault = func(int) (before, after error) {
			if calls++; calls%3 == 0 {
				return errors.New("connection refused"), nil
			} else if calls%3 == 1 {
				return nil, errors.New("connection reset")
			}
			return nil, nil
		}
		aside := map[uint64]bool{}
		for n := range 10 {
			r.log.append(0, batch(viewOf("good", string(rune('a'+n)))))
			if n == 4 {
				aside[r.log.append(0, batch(viewOf("poison", "p"), viewOf("good", "b"))).Offset] = true
			}
		}
		w1 := r.start(t, "w1")
		defer w1.stop()
		if diff := r.settled(time.Minute, aside); diff != "" {
			t.Error(diff)
		}
	})
}
