package shardproxy_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// What an answer lacks is named with its shard; late rows are in the points. Too much of it is an error that says what to ask instead.
func TestStatsNameWhatIsCold(t *testing.T) {
	r := newRig(t, shared).bothHealthy()
	key := keyOf(1, 0)
	epoch := r.claim(1)
	const day = 24 * 60
	first := event.MinuteOf(created.UnixMilli())/day*day - 10*day
	old := counted(key, 5)
	old.Minute = first + 7
	r.mustApply(request(epoch, 1, 2, old))
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := r.servers.Primary.Root().Exec(statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec("UPDATE quipu.archive_marks SET frozen_before = FROM_UNIXTIME(?), cold_before = frozen_before WHERE resolution = 'minute'", (first+day)*60)
	manifest := func(object string, n int) {
		t.Helper()
		exec(`INSERT INTO quipu.archive_manifest (partition_id, resolution, range_start, range_end, object, byte_size, checksum, row_count, event_count_sum, value_count_sum, value_sum_sum, state, changed_at)
SELECT 1, 'minute', FROM_UNIXTIME(?), FROM_UNIXTIME(?), CONCAT(?, seq), 99, UNHEX('0a0b'), 1, 5, 0, 0, 'stored', UTC_TIMESTAMP() FROM `+testkit.Numbers(n)+" n", first*60, (first+day)*60, object)
	}
	manifest("o", 1)
	added := counted(key, 2)
	added.Minute = first + 7
	r.mustApply(request(epoch, 2, 3, added))
	r.servers.AwaitReplica(t)
	ask := wire.StatsRequest{Type: "view", Keys: []string{key, keyOf(2, 0)}, From: first, To: first + 60, Step: wire.StepMinute}
	var got wire.StatsAnswer
	if err := r.post(wire.PathStats, ask, &got); err != nil {
		t.Fatal(err)
	}
	want := []wire.ColdPart{{
		Shard: "s1", Resolution: "minute", From: first, To: first + 60, Partitions: []int{1},
		Objects: []wire.ColdObject{{Object: "o1", Bytes: 99, Rows: 1, SHA256: "0a0b", Partitions: []int{1}, From: first, To: first + day}},
	}}
	if diff := cmp.Diff(want, got.Cold); diff != "" {
		t.Errorf("cold parts (-want +got):\n%s", diff)
	}
	if points := got.Keys[0].Points; len(points) != 1 || points[0].Count != 2 || got.Sources[0].Resolution != "late" {
		t.Errorf("got points %+v from %+v, want the late 2", points, got.Sources)
	}
	ask.Explain, ask.From = true, first-60
	ask.To, ask.Step = first+day+180, wire.StepNone
	if err := r.post(wire.PathStats, ask, &got); err != nil {
		t.Fatal(err)
	}
	database := got.Sources[0].Database
	wantPlan := []wire.PlanSegment{
		{Shard: "s1", Database: database, Place: wire.PlaceHot, Resolution: "hour", From: first - 60, To: first},
		{Shard: "s1", Database: database, Place: wire.PlaceHot, Resolution: "day", From: first, To: first + day},
		{Shard: "s1", Database: database, Place: wire.PlaceHot, Resolution: "hour", From: first + day, To: first + day + 180},
	}
	if diff := cmp.Diff(wantPlan, got.Plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	ask.Explain, ask.From, ask.To, ask.Step = false, first, first+60, wire.StepMinute
	manifest("p", wire.MaxColdObjects)
	r.servers.AwaitReplica(t)
	problem := r.failsWith(wire.CodeTooLarge, func() error { return r.post(wire.PathStats, ask, &got) })
	if problem.Status != http.StatusRequestEntityTooLarge || problem.Detail == "" {
		t.Errorf("got %+v", problem)
	}
	t.Log(fmt.Sprint(problem.Detail))
}
