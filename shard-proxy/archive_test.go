package shardproxy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"testing"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	shardproxy "github.com/quipudb/quipu/shard-proxy"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// today is the minute at which the day of the cluster's creation starts: everything before can be frozen at every resolution.
func today() int64 { return created.Unix() / 60 / (24 * 60) * (24 * 60) }

func (r *rig) archiveState() *wire.ArchiveState {
	r.t.Helper()
	state := &wire.ArchiveState{}
	if err := r.client.JSON(r.t.Context(), http.MethodGet, r.url+wire.PathArchive, nil, state); err != nil {
		r.t.Fatal(err)
	}
	return state
}

func (r *rig) leader(owner string) wire.Leader {
	r.t.Helper()
	return wire.Leader{Epoch: r.claimRollup(owner).Epoch, Owner: owner}
}

func (r *rig) mustPost(path string, in, out any) {
	r.t.Helper()
	if err := r.post(path, in, out); err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
}

// archiveRows reads all portions.
func (r *rig) archiveRows(ask wire.ArchiveRowsRequest) ([]wire.ArchiveRow, error) {
	var all []wire.ArchiveRow
	for {
		body := fmt.Appendf(nil, `{"resolution":%q,"from_minute":%d,"to_minute":%d,"late":%t,"next_key":%d,"rows":%d}`, ask.Resolution, ask.From, ask.To, ask.Late, ask.NextKey, ask.Rows)
		reply, err := r.client.Bytes(r.t.Context(), http.MethodPost, r.url+wire.PathArchiveRows, wire.JSONType, body)
		if err != nil {
			return nil, err
		}
		if got := reply.Header.Get("Content-Type"); got != wire.ArchiveRowsType {
			return nil, fmt.Errorf("content type %q", got)
		}
		rows, err := wire.DecodeArchiveRows(reply.Body)
		if err != nil {
			return nil, err
		}
		all = append(all, rows.Rows...)
		if ask.NextKey = rows.NextKey; ask.NextKey == 0 {
			return all, nil
		}
	}
}

// old is a row of some days before the cluster's creation.
func old(key string, days, minute, count int64) wire.Row {
	row := wire.Row{Type: "view", Key: key, Minute: today() - days*24*60 + minute, Aggregate: event.NewAggregate()}
	row.AddEvent(count, 7*count, true)
	return row
}

func objectOf(name string, day int64, rows []wire.ArchiveRow) wire.ArchiveObject {
	sum := sha256.Sum256([]byte(name))
	o := wire.ArchiveObject{Object: name, From: day, To: day + 24*60, Bytes: 100, SHA256: hex.EncodeToString(sum[:])}
	part := wire.ArchiveSums{Partition: 1}
	for _, row := range rows {
		part.Rows++
		part.EventCount = part.EventCount.Add(event.SumOf(row.Count))
		part.ValueCount = part.ValueCount.Add(event.SumOf(row.ValueCount))
		part.ValueSum = part.ValueSum.Add(row.Sum)
	}
	o.Parts = []wire.ArchiveSums{part}
	return o
}

// INV-5: rows of a day turn cold over HTTP; who does not lead, or offers something else, is refused by a code.
func TestArchiveOverHTTP(t *testing.T) {
	r := newRig(t, shared, func(c *shardproxy.Config) { c.ProbeInterval = patience }) // its replica is not healthy for long
	r.mustApply(request(r.claim(1), 1, 2, old(keyOf(1, 0), 1, 5, 3), old(keyOf(1, 0), 1, 6, 4), old(keyOf(1, 1), 1, 5, 1)))
	zombie, lead := r.leader("a1"), r.leader("a2")
	from, to := today()-24*60, today()
	ask := wire.ArchiveRowsRequest{Resolution: "minute", From: from, To: to, Rows: 1}
	if _, err := r.archiveRows(ask); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("rows that are not frozen: got %v, want %s", err, wire.CodeConflict)
	}
	var mark wire.ArchiveMark
	r.mustPost(wire.PathArchiveFreeze, wire.ArchiveFreeze{Leader: lead, Resolution: "minute", Before: to + 99}, &mark)
	if mark.FrozenBefore != to || mark.ColdBefore != 0 {
		t.Errorf("got %+v, want frozen before %d", mark, to)
	}
	r.servers.AwaitReplica(t)
	rows, err := r.archiveRows(ask)
	if err != nil || len(rows) != 3 || rows[0].Partition != 1 || rows[0].Type != "view" {
		t.Fatalf("got %+v, %v; want 3 rows", rows, err)
	}
	object := objectOf("resolution=minute/a.parquet", from, rows)
	commit := wire.ArchiveCommit{Leader: lead, Kind: wire.CommitFrozen, Resolution: "minute", From: 0, To: to, Objects: []wire.ArchiveObject{object}}
	refused := func(what string, want wire.Code, path string, in any) {
		t.Helper()
		if err := r.post(path, in, nil); wire.CodeOf(err) != want {
			t.Errorf("%s: got %v, want %s", what, err, want)
		}
	}
	refused("not announced", wire.CodeConflict, wire.PathArchiveCommit, commit)
	r.mustPost(wire.PathArchiveIntend, wire.ArchiveIntent{Leader: lead, Objects: []string{object.Object}}, nil)
	if state := r.archiveState(); len(state.Intents) != 1 || state.Shard != "s1" || state.Database != "s1-a" {
		t.Errorf("got %+v, want an intent", state)
	}
	other := commit
	other.Objects = []wire.ArchiveObject{objectOf(object.Object, from, rows[1:])}
	refused("a row too few", wire.CodeConservation, wire.PathArchiveCommit, other)
	other = commit
	other.Leader = zombie
	refused("a zombie's", wire.CodeFenced, wire.PathArchiveCommit, other)
	other = commit
	other.Kind = "thawed"
	refused("of no kind", wire.CodeBadRequest, wire.PathArchiveCommit, other)
	for range 2 {
		r.mustPost(wire.PathArchiveCommit, commit, &mark)
		if mark.ColdBefore != to {
			t.Errorf("got %+v, want cold before %d", mark, to)
		}
	}
	refused("announced again", wire.CodeConflict, wire.PathArchiveIntend, wire.ArchiveIntent{Leader: lead, Objects: []string{object.Object}})
	if state := r.archiveState(); len(state.Intents) != 0 || state.Marks[0] != mark {
		t.Errorf("got %+v, want no intent and %+v", state, mark)
	}
	testkit.Eventually(t, patience, func() error {
		if _, err := r.archiveRows(ask); wire.CodeOf(err) != wire.CodeConflict {
			return fmt.Errorf("rows that are cold: got %v, want %s", err, wire.CodeConflict)
		}
		return nil
	})
}

// turnCold archives one day over HTTP and returns its rows.
func (r *rig) turnCold(lead wire.Leader, from, to int64) []wire.ArchiveRow {
	r.t.Helper()
	r.mustPost(wire.PathArchiveFreeze, wire.ArchiveFreeze{Leader: lead, Resolution: "minute", Before: to}, nil)
	r.servers.AwaitReplica(r.t)
	rows, err := r.archiveRows(wire.ArchiveRowsRequest{Resolution: "minute", From: 0, To: to, Rows: 100})
	if err != nil {
		r.t.Fatal(err)
	}
	object := objectOf("resolution=minute/a.parquet", from, rows)
	r.mustPost(wire.PathArchiveIntend, wire.ArchiveIntent{Leader: lead, Objects: []string{object.Object}}, nil)
	r.mustPost(wire.PathArchiveCommit, wire.ArchiveCommit{Leader: lead, Kind: wire.CommitFrozen, Resolution: "minute", From: 0, To: to, Objects: []wire.ArchiveObject{object}}, nil)
	return rows
}

// INV-6: late rows of a cold day become an object of their own, which is then merged; what retired is forgotten when no database refers to it.
func TestLateRowsAndMergingOverHTTP(t *testing.T) {
	r := newRig(t, shared)
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, old(keyOf(1, 0), 1, 5, 3)))
	lead := r.leader("a1")
	from, to := today()-24*60, today()
	rows := r.turnCold(lead, from, to)
	r.mustApply(request(epoch, 2, 3, old(keyOf(1, 0), 1, 5, 10)))
	var mark wire.ArchiveMark
	r.mustPost(wire.PathArchiveSeal, wire.ArchiveSeal{Leader: lead, Resolution: "minute"}, &mark)
	if state := r.archiveState(); mark.LateRound != 2 || len(state.Late) != 1 || state.Late[0] != (wire.LateRows{Resolution: "minute", Day: from, Rows: 1, Sealed: 1}) {
		t.Errorf("got %+v after %+v, want one sealed row", state.Late, mark)
	}
	late, err := r.archiveRows(wire.ArchiveRowsRequest{Resolution: "minute", From: from, To: to, Rows: 100, Late: true})
	if err != nil || len(late) != 1 || late[0].Count != 10 {
		t.Fatalf("got %+v, %v; want the late row", late, err)
	}
	second, third := objectOf("b.parquet", from, late), objectOf("c.parquet", from, append(rows, late...))
	third.Parts[0].Rows = 1
	r.mustPost(wire.PathArchiveIntend, wire.ArchiveIntent{Leader: lead, Objects: []string{second.Object, third.Object}}, nil)
	commit := wire.ArchiveCommit{Leader: lead, Kind: wire.CommitLate, Resolution: "minute", From: from, To: to, Objects: []wire.ArchiveObject{second}}
	merge := commit
	merge.Kind, merge.Objects, merge.Replaced = wire.CommitMerged, []wire.ArchiveObject{third}, []string{"resolution=minute/a.parquet", second.Object}
	for range 2 {
		r.mustPost(wire.PathArchiveCommit, commit, nil)
	}
	for range 2 {
		r.mustPost(wire.PathArchiveCommit, merge, nil)
	}
	var manifest wire.ManifestAnswer
	r.mustPost(wire.PathArchiveManifest, wire.ManifestRequest{From: from, To: to}, &manifest)
	states := map[string]int{}
	for _, m := range manifest.Rows {
		states[m.State]++
	}
	if manifest.More || states["stored"] != 1 || states["retired"] != 2 {
		t.Errorf("got %+v, want one stored and two retired", manifest)
	}
	testkit.Eventually(t, patience, func() error { // the replica follows
		var refer wire.ReferencesAnswer
		r.mustPost(wire.PathArchiveReferences, wire.ReferencesRequest{Objects: []string{second.Object, third.Object, "other"}}, &refer)
		if len(refer.Missing) != 0 || len(refer.Referenced) != 1 || refer.Referenced[0] != third.Object {
			return fmt.Errorf("got %+v, want %s alone", refer, third.Object)
		}
		return nil
	})
	r.mustPost(wire.PathArchiveForget, wire.ArchiveIntent{Leader: lead, Objects: merge.Replaced}, nil)
	r.mustPost(wire.PathArchiveManifest, wire.ManifestRequest{Resolution: "minute"}, &manifest)
	if len(manifest.Rows) != 1 || manifest.Rows[0].Object != third.Object {
		t.Errorf("got %+v, want %s alone", manifest, third.Object)
	}
}

// A database that can't be asked is missing: nothing is deleted by what it may not refer to.
func TestReferencesOfAnAbsentDatabase(t *testing.T) {
	r := newRig(t, shared)
	topology := *topology(shared.Primary, shared.Replica)
	shard := &topology.Topology.Shards[0]
	shard.Databases = append(shard.Databases, cluster.Database{ID: "s1-c", Address: "127.0.0.1:1", Role: cluster.Replica})
	r.publish(&topology)
	testkit.Eventually(t, patience, func() error {
		var refer wire.ReferencesAnswer
		r.mustPost(wire.PathArchiveReferences, wire.ReferencesRequest{Objects: []string{"a"}}, &refer)
		if len(refer.Missing) != 1 || refer.Missing[0] != "s1-c" {
			return fmt.Errorf("got %+v, want the one that nobody can reach to be missing", refer)
		}
		return nil
	})
}

func TestDropAndRestoreOverHTTP(t *testing.T) {
	r := newRig(t, shared)
	r.mustApply(request(r.claim(1), 1, 2, old(keyOf(1, 0), 1, 5, 3), old(keyOf(1, 1), 1, 5, 4)))
	zombie, lead := r.leader("a0"), r.leader("a1")
	from, to := today()-24*60, today()
	rows := r.turnCold(lead, from, to)
	var dropped wire.ArchiveDropped
	r.mustPost(wire.PathArchiveDrop, wire.ArchiveDrop{Leader: lead, Resolution: "minute"}, &dropped)
	if dropped.Partitions == 0 {
		t.Errorf("got %+v, want some", dropped)
	}
	ask := wire.RestoreRequest{Leader: lead, Resolution: "minute", From: from, To: to}
	var restored wire.RestoredRange
	r.mustPost(wire.PathArchiveRestore, ask, &restored)
	if restored.State != "loading" {
		t.Errorf("got %+v, want it to be loading", restored)
	}
	end := wire.RestoreEnd{Leader: lead, ID: restored.ID}
	if err := r.post(wire.PathArchiveRestoreEnd, end, nil); wire.CodeOf(err) != wire.CodeConservation {
		t.Errorf("without rows: got %v, want %s", err, wire.CodeConservation)
	}
	add := func(l wire.Leader, id uint64, kind string) wire.Code {
		url := fmt.Sprintf("%s%s?epoch=%d&owner=%s&range=%d", r.url, wire.PathArchiveRestoreAdd, l.Epoch, l.Owner, id)
		_, err := r.client.Bytes(t.Context(), http.MethodPost, url, kind, wire.EncodeArchiveRows(nil, &wire.ArchiveRows{Rows: rows}))
		return wire.CodeOf(err)
	}
	for _, one := range []struct {
		who  wire.Leader
		id   uint64
		kind string
		want wire.Code
	}{
		{zombie, restored.ID, wire.ArchiveRowsType, wire.CodeFenced},
		{wire.Leader{}, restored.ID, wire.ArchiveRowsType, wire.CodeBadRequest},
		{lead, restored.ID + 1, wire.ArchiveRowsType, wire.CodeNotFound},
		{lead, restored.ID, wire.JSONType, wire.CodeMediaType},
		{lead, restored.ID, wire.ArchiveRowsType, ""},
		{lead, restored.ID, wire.ArchiveRowsType, ""},
	} {
		if got := add(one.who, one.id, one.kind); got != one.want {
			t.Errorf("rows of %+v for range %d as %s: got %q, want %q", one.who, one.id, one.kind, got, one.want)
		}
	}
	r.mustPost(wire.PathArchiveRestoreEnd, end, &restored)
	if restored.State != "ready" {
		t.Errorf("got %+v, want it to be ready", restored)
	}
	ask.Release = true
	r.mustPost(wire.PathArchiveRestore, ask, &restored)
	r.mustPost(wire.PathArchiveDrop, wire.ArchiveDrop{Leader: lead, Resolution: "minute"}, &dropped)
	if dropped.Rows != 2 || dropped.Again {
		t.Errorf("got %+v, want 2 rows", dropped)
	}
	if err := r.post(wire.PathArchiveRestore, ask, nil); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("released again: got %v, want %s", err, wire.CodeNotFound)
	}
}

func TestArchiveRefusesNonsense(t *testing.T) {
	r := newRig(t, shared)
	lead := r.leader("a1")
	for name, err := range map[string]error{
		"no owner":     r.post(wire.PathArchiveFreeze, wire.ArchiveFreeze{Resolution: "minute"}, nil),
		"no rows":      r.post(wire.PathArchiveRows, wire.ArchiveRowsRequest{Resolution: "minute", To: 5}, nil),
		"no range":     r.post(wire.PathArchiveRows, wire.ArchiveRowsRequest{Resolution: "minute", Rows: 5}, nil),
		"many objects": r.post(wire.PathArchiveIntend, wire.ArchiveIntent{Leader: lead, Objects: make([]string, wire.MaxArchiveObjects+1)}, nil),
		"no checksum":  r.post(wire.PathArchiveCommit, wire.ArchiveCommit{Leader: lead, Kind: wire.CommitFrozen, Objects: []wire.ArchiveObject{{SHA256: "z"}}}, nil),
	} {
		if wire.CodeOf(err) != wire.CodeBadRequest {
			t.Errorf("%s: got %v, want %s", name, err, wire.CodeBadRequest)
		}
	}
	for name, err := range map[string]error{
		"no resolution": r.post(wire.PathArchiveSeal, wire.ArchiveSeal{Leader: lead, Resolution: "week"}, nil),
		"no object":     r.post(wire.PathArchiveIntend, wire.ArchiveIntent{Leader: lead, Objects: []string{""}}, nil),
	} {
		if wire.CodeOf(err) != wire.CodeUnapplicable {
			t.Errorf("%s: got %v, want %s", name, err, wire.CodeUnapplicable)
		}
	}
}
