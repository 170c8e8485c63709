package ingest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/eventlog/remote"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire"
)

// tell says how far the archive came, and returns what ingest answers.
func (r *rig) tell(told wire.LogArchived) (wire.LogHold, answer) {
	r.t.Helper()
	body, err := json.Marshal(told)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.Post(r.url+wire.PathLogHold, wire.JSONType, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.readHold(resp)
}

func (r *rig) readHold(resp *http.Response) (hold wire.LogHold, a answer) {
	r.t.Helper()
	if resp.StatusCode != http.StatusOK {
		return hold, r.read(resp)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&hold); err != nil {
		r.t.Fatal(err)
	}
	return hold, answer{status: resp.StatusCode}
}

// holding starts ingest with a small log that nobody needs any more but, maybe, the archive.
func holding(t *testing.T, dir string, c *checkpoints) *rig {
	t.Helper()
	r := start(t, options{
		dir: dir,
		log: embedded.Config{MaxBytes: 400 << 10, SegmentBytes: 8 << 10},
		config: func(cfg *ingest.Config) {
			cfg.Checkpoints, cfg.TrimInterval, cfg.Retention, cfg.Hold = c, time.Millisecond, -1, true
		},
	})
	var counted wire.CheckpointsAnswer
	for p := range testPartitions {
		counted.Checkpoints = append(counted.Checkpoints, wire.Checkpoint{Partition: p, WindowFrom: 1 << 40, NextOffset: 1 << 40, Incarnation: r.log.Incarnation()})
	}
	c.set(counted, nil)
	return r
}

// TestTrimmingWaitsForTheArchive fills the log until it refuses events, as nothing was archived, archives some, and starts anew (design: what the raw
// archive still needs is never trimmed).
func TestTrimmingWaitsForTheArchive(t *testing.T) {
	c := &checkpoints{}
	r := holding(t, "", c)
	body := view(keyIn(0), strings.Repeat("i", 100)) + "\n" + view(keyIn(1)+strings.Repeat("k", 200), "b")
	posts := 0
	for a := r.post(body); a.status == http.StatusAccepted; a = r.post(body) {
		if posts++; posts > 5000 {
			t.Fatal("the log never got full")
		}
	}
	c.rounds(t)
	if got := r.firsts(); got[0] != 1 || got[1] != 1 {
		t.Fatalf("got first offsets %v, want nothing trimmed before it is archived", got)
	}
	resp, err := http.Get(r.url + wire.PathLogHold)
	if err != nil {
		t.Fatal(err)
	}
	hold, _ := r.readHold(resp)
	if !hold.Holds || hold.Incarnation != r.log.Incarnation() || len(hold.Partitions) != testPartitions || hold.Partitions[0].Archived != 0 ||
		hold.UsedBytes < hold.LimitBytes*3/4 || hold.Partitions[0].Next < uint64(posts/2) {
		t.Errorf("got %+v", hold)
	}
	half := hold.Partitions[0].Next / 2
	if got, a := r.tell(wire.LogArchived{Incarnation: hold.Incarnation, Partition: 0, Before: half}); a.status != http.StatusOK || got.Partitions[0].Archived != half {
		t.Errorf("got %d %+v %+v", a.status, got, a.problem)
	}
	r.tell(wire.LogArchived{Incarnation: hold.Incarnation, Partition: 0, Before: 2}) // an older one came late
	eventually(t, func() bool { return r.firsts()[0] > half/2 })
	c.rounds(t)
	if got := r.firsts(); got[0] > half || got[1] != 1 {
		t.Errorf("got first offsets %v, want partition 0 trimmed below %d at most, and no other", got, half)
	}
	if a := r.post(body); a.Accepted != 2 {
		t.Errorf("got %+v, want room again", a)
	}
	before := r.firsts()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	c = &checkpoints{}
	r = holding(t, r.dir, c)
	c.rounds(t)
	if diff := cmp.Diff(before, r.firsts()); diff != "" {
		t.Errorf("first offsets after a new start, of which nobody was told anything (-want +got):\n%s", diff)
	}
}

func TestWhatIsArchivedMustBeOfThisLog(t *testing.T) {
	r := holding(t, "", &checkpoints{})
	for name, test := range map[string]struct {
		told   wire.LogArchived
		status int
		code   wire.Code
		field  string
	}{
		"another log":       {wire.LogArchived{Incarnation: "another", Before: 1}, http.StatusConflict, wire.CodeConflict, "incarnation"},
		"another partition": {wire.LogArchived{Incarnation: r.log.Incarnation(), Partition: testPartitions, Before: 1}, http.StatusNotFound, wire.CodeNotFound, "partition"},
		"what is not there": {wire.LogArchived{Incarnation: r.log.Incarnation(), Before: 2}, http.StatusConflict, wire.CodeBeyondEnd, "before"},
	} {
		_, a := r.tell(test.told)
		a.wantProblem(t, test.status, test.code)
		if a.problem.Field != test.field {
			t.Errorf("%s: got field %q, want %q", name, a.problem.Field, test.field)
		}
	}
	resp, err := http.Post(r.url+wire.PathLogHold, wire.JSONType, strings.NewReader("{"))
	if err != nil {
		t.Fatal(err)
	}
	r.read(resp).wantProblem(t, http.StatusBadRequest, wire.CodeBadRequest)
}

func TestRemoteTellsTheHold(t *testing.T) {
	r := holding(t, "", &checkpoints{})
	if a := r.post(view(keyIn(0), "a")); a.Accepted != 1 {
		t.Fatalf("got %+v", a)
	}
	client := wire.NewClient(wire.ClientConfig{})
	t.Cleanup(client.Close)
	log := remote.New(remote.Config{URLs: func() []string { return []string{"http://127.0.0.1:1", r.url} }, Client: client})
	if err := log.Archived(t.Context(), wire.LogArchived{Incarnation: r.log.Incarnation(), Before: 2}); err != nil {
		t.Fatal(err)
	}
	hold, err := log.Hold(t.Context())
	if err != nil || hold.Partitions[0].Archived != 2 || hold.Partitions[0].Next != 2 {
		t.Errorf("got %+v, %v", hold, err)
	}
	err = log.Archived(t.Context(), wire.LogArchived{Incarnation: r.log.Incarnation(), Before: 3})
	if !errors.Is(err, eventlog.ErrBeyondEnd) {
		t.Errorf("got %v", err)
	}
}

// TestReplicaIsNotGivenUpForTheArchive: a replica that lags a little holds nothing back that the archive does not.
func TestReplicaIsNotGivenUpForTheArchive(t *testing.T) {
	c, marks := &checkpoints{}, &replicas{promotable: map[string]bool{"s1-b": true}}
	r := start(t, options{
		log: embedded.Config{MaxBytes: 400 << 10, SegmentBytes: 8 << 10},
		config: func(cfg *ingest.Config) {
			cfg.Checkpoints, cfg.Replicas, cfg.TrimInterval, cfg.Retention, cfg.Hold = c, marks, time.Millisecond, -1, true
		},
	})
	var counted wire.CheckpointsAnswer
	for p := range testPartitions {
		for database, from := range map[string]uint64{"s1-a": 1 << 40, "s1-b": 3} {
			counted.Checkpoints = append(counted.Checkpoints, wire.Checkpoint{Partition: p, Database: database, WindowFrom: from, NextOffset: from, Incarnation: r.log.Incarnation()})
		}
	}
	c.set(counted, nil)
	key := strings.Repeat("k", 200)
	body := strings.Repeat(view(key, "a")+"\n", 20)
	eventually(t, func() bool { return r.post(body).Accepted == 0 })
	c.rounds(t)
	if !marks.Promotable()["s1-b"] {
		t.Error("the replica is given up although nothing is archived")
	}
	partition := partitionOf("view", key)
	bounds, err := r.log.Bounds(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	if _, a := r.tell(wire.LogArchived{Incarnation: r.log.Incarnation(), Partition: partition, Before: bounds.Next / 2}); a.status != http.StatusOK {
		t.Fatalf("got %+v", a)
	}
	eventually(t, func() bool { return !marks.Promotable()["s1-b"] })
	eventually(t, func() bool { return r.post(body).Accepted == 20 })
}
