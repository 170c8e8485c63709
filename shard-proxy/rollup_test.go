package shardproxy_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/quipudb/quipu/shard-proxy"
	"github.com/quipudb/quipu/wire"
)

func (r *rig) rollupState() *wire.RollupState {
	r.t.Helper()
	state := &wire.RollupState{}
	if err := r.client.JSON(r.t.Context(), http.MethodGet, r.url+wire.PathRollup, nil, state); err != nil {
		r.t.Fatal(err)
	}
	return state
}

func (r *rig) claimRollup(owner string) *wire.RollupRequest {
	r.t.Helper()
	var claimed wire.RollupClaimed
	if err := r.post(wire.PathRollupClaim, wire.RollupClaim{Owner: owner}, &claimed); err != nil {
		r.t.Fatal(err)
	}
	return &wire.RollupRequest{Epoch: claimed.Epoch, Owner: owner, ChunkRows: 100}
}

// INV-5: a shard is rolled up over HTTP, and the one whose epoch is old is refused by a code.
func TestRollupOverHTTP(t *testing.T) {
	r := newRig(t, shared, func(c *shardproxy.Config) { c.Now = func() time.Time { return created.Add(48 * time.Hour) } })
	before := r.rollupState()
	if before.Shard != "s1" || before.Database != "s1-a" || before.Epoch != 0 || len(before.Marks) != 2 {
		t.Fatalf("got %+v", before)
	}
	r.mustApply(request(r.claim(1), 1, 2, counted(keyOf(1, 0), 5), counted(keyOf(1, 1), 2)))
	zombie, lead := r.claimRollup("r1"), r.claimRollup("r2")
	lead.Until, zombie.Until = created.Unix()/60+24*60, created.Unix()/60+24*60
	did := map[wire.RollupAction]int{}
	for did[wire.RollupIdle] == 0 {
		r.failsWith(wire.CodeFenced, func() error { return r.post(wire.PathRollupStep, zombie, nil) })
		var done wire.RollupStep
		if err := r.post(wire.PathRollupStep, lead, &done); err != nil {
			t.Fatal(err)
		}
		did[done.Action]++
	}
	if did[wire.RollupAnnounced] != 25 || did[wire.RollupComputed] != 25 || did[wire.RollupAdvanced] != 25 {
		t.Errorf("got %v, want 24 hours and a day, a chunk each", did)
	}
	after := r.rollupState()
	if after.Owner != "r2" || after.Marks[0].CompleteBefore != before.Marks[0].CompleteBefore+24*60 || after.Marks[1].CompleteBefore != before.Marks[1].CompleteBefore+24*60 {
		t.Errorf("got %+v after %+v, want a day more of hours and days", after, before)
	}
	r.servers.AwaitReplica(t)
	answer, err := r.stats(keyOf(1, 0), keyOf(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Keys[0].Points[0].Count != 5 || answer.Keys[1].Points[0].Count != 2 {
		t.Errorf("got %+v, want 5 and 2", answer.Keys)
	}
}

func TestRollupRefusesNonsense(t *testing.T) {
	r := newRig(t, shared)
	for name, err := range map[string]error{
		"no owner":    r.post(wire.PathRollupClaim, wire.RollupClaim{}, nil),
		"no chunk":    r.post(wire.PathRollupStep, wire.RollupRequest{Owner: "r1"}, nil),
		"large chunk": r.post(wire.PathRollupStep, wire.RollupRequest{Owner: "r1", ChunkRows: wire.MaxRollupRows + 1}, nil),
	} {
		if wire.CodeOf(err) != wire.CodeBadRequest {
			t.Errorf("%s: got %v, want %s", name, err, wire.CodeBadRequest)
		}
	}
}
