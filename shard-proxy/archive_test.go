package shardproxy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"testing"

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
	if err != nil || len(rows) != 3 || rows[0].Partition != 1 || rows[0].Key != keyOf(1, 0) {
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
