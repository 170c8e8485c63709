package failover_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/failover"
	"github.com/quipudb/quipu/mysql"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func rules() failover.Rules {
	return failover.Rules{MaxAtOnce: 2, Pause: 2 * time.Minute, MaxPerShard: 3, Period: time.Hour}
}

// member is a server at a GTID and an offset of both partitions.
func member(gtid, offset uint64) *failover.Server {
	return &failover.Server{Word: failover.WordDown, Member: &mysql.Member{
		ReadOnly: true, ClusterID: "c-1", ShardID: "s1", Term: 4, Held: mysql.Held{Executed: fmt.Sprintf("0-101-%d", gtid)},
		Link:        mysql.Link{Configured: true, Receiving: true, Applying: true},
		Checkpoints: []mysql.Checkpoint{{Partition: 0, NextOffset: offset, WindowFrom: 5, Incarnation: "log-1"}, {Partition: 1, NextOffset: offset, WindowFrom: 5, Incarnation: "log-1"}},
	}}
}

// lost is a shard of three whose primary is gone, as everybody says.
func lost() *failover.Facts {
	return &failover.Facts{
		Shard: cluster.Shard{ID: "s1", Databases: []cluster.Database{
			{ID: "s1-a", Role: cluster.Primary, Zone: "x"}, {ID: "s1-b", Role: cluster.Replica, Zone: "x"}, {ID: "s1-c", Role: cluster.Replica, Zone: "x"},
		}},
		ClusterID: "c-1", Partitions: []int{0, 1}, Now: noon,
		Proxies: []failover.ProxyWord{{Member: "p1", Word: failover.WordDown}, {Member: "p2", Word: failover.WordDown}, {Member: "p3", Word: failover.WordAlive}},
		Servers: map[string]*failover.Server{"s1-a": {Error: "connection refused"}, "s1-b": member(50, 20), "s1-c": member(60, 30)},
		Log:     &failover.LogFacts{Incarnation: "log-1", Partitions: map[int]failover.LogRange{0: {First: 3, Next: 100}, 1: {First: 1, Next: 100}}},
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	automatic := failover.Request{Automatic: true}
	promotion := func(ago time.Duration, planned bool) cluster.Promotion {
		return cluster.Promotion{Term: 4, From: "s1-b", To: "s1-a", Ended: noon.Add(-ago), Planned: planned}
	}
	for name, test := range map[string]struct {
		change  func(*failover.Facts)
		request failover.Request
		to      string
		refused []failover.RefusalCode
	}{
		"the most advanced":       {request: automatic, to: "s1-c"},
		"the one that was named":  {request: failover.Request{To: "s1-b"}, to: "s1-b"},
		"received counts as well": {change: func(f *failover.Facts) { f.Servers["s1-b"].Link.Received = "0-101-70" }, request: automatic, to: "s1-b"},
		"but not if it stays there": {change: func(f *failover.Facts) {
			f.Servers["s1-b"].Link.Received, f.Servers["s1-b"].Link.Applying = "0-101-70", false
		}, request: automatic, to: "s1-c"},
		"not an unpromotable one": {change: func(f *failover.Facts) { f.Shard.Databases[2].Unpromotable = true }, request: automatic, to: "s1-b"},
		"not a diverged one":      {change: func(f *failover.Facts) { f.Shard.Databases[2].State = cluster.Diverged }, request: automatic, to: "s1-b"},
		"not of another zone":     {change: func(f *failover.Facts) { f.Shard.Databases[2].Zone = "y" }, request: automatic, to: "s1-b"},
		"unless told so":          {change: func(f *failover.Facts) { f.Shard.Databases[2].Zone = "y" }, request: failover.Request{Automatic: true, AcrossZones: true}, to: "s1-c"},
		"not of another schema":   {change: func(f *failover.Facts) { f.Servers["s1-c"].SchemaError = "too new" }, request: automatic, to: "s1-b"},
		"not of another shard":    {change: func(f *failover.Facts) { f.Servers["s1-c"].ShardID = "s2" }, request: automatic, to: "s1-b"},
		"not without a partition": {change: func(f *failover.Facts) { f.Servers["s1-c"].Checkpoints = f.Servers["s1-c"].Checkpoints[1:] }, request: automatic, to: "s1-b"},
		"nobody": {change: func(f *failover.Facts) {
			f.Shard.Databases[1].Unpromotable, f.Shard.Databases[2].Unpromotable = true, true
		}, request: automatic, refused: []failover.RefusalCode{failover.RefusedNoCandidate}},
		"one that does not answer was named": {
			change: func(f *failover.Facts) {
				f.Servers["s1-b"] = &failover.Server{Error: "away", Word: failover.WordUnknown}
			},
			request: failover.Request{Automatic: true, To: "s1-b"}, refused: []failover.RefusalCode{failover.RefusedNoCandidate},
		},

		"half of the proxies": {change: func(f *failover.Facts) { f.Proxies = f.Proxies[1:] }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedNoAgreement}},
		"no proxy":            {change: func(f *failover.Facts) { f.Proxies = nil }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedNoAgreement}},
		"unknown is not down": {
			change:  func(f *failover.Facts) { f.Proxies[0].Word = failover.WordUnknown },
			request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedNoAgreement},
		},
		"a replica hears of it":  {change: func(f *failover.Facts) { f.Servers["s1-b"].Word = failover.WordAlive }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedNoAgreement}},
		"one replica can't tell": {change: func(f *failover.Facts) { f.Servers["s1-b"].Word = failover.WordUnknown }, request: automatic, to: "s1-c"},
		"no replica can tell": {change: func(f *failover.Facts) {
			f.Servers["s1-b"].Word, f.Servers["s1-c"].Word = failover.WordUnknown, failover.WordUnknown
		}, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedNoAgreement}},
		"an operator need ask nobody": {change: func(f *failover.Facts) { f.Proxies = nil }, to: "s1-c"},

		"it answers": {change: func(f *failover.Facts) { f.Servers["s1-a"] = member(60, 30) }, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedAlive}},
		"by force":   {change: func(f *failover.Facts) { f.Servers["s1-a"] = member(60, 30) }, request: failover.Request{Force: true}, to: "s1-c"},
		"planned":    {change: func(f *failover.Facts) { f.Servers["s1-a"] = member(60, 30) }, request: failover.Request{Planned: true}, to: "s1-c"},
		"planned, to one that follows": {change: func(f *failover.Facts) {
			f.Servers["s1-a"], f.Servers["s1-c"].Link.Applying = member(60, 30), false
		}, request: failover.Request{Planned: true}, to: "s1-b"},
		"can't be planned":  {request: failover.Request{Planned: true}, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedNotPlanned}},
		"the log is short":  {change: func(f *failover.Facts) { f.Log.Partitions[0] = failover.LogRange{First: 31, Next: 100} }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedLog}},
		"its window is":     {change: func(f *failover.Facts) { f.Log.Partitions[0] = failover.LogRange{First: 6, Next: 100} }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedLog}},
		"another log":       {change: func(f *failover.Facts) { f.Log.Incarnation = "log-2" }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedLog}},
		"the log is behind": {change: func(f *failover.Facts) { f.Log.Partitions[0] = failover.LogRange{First: 1, Next: 29} }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedLog}},
		"the log is away":   {change: func(f *failover.Facts) { f.Log = nil }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedLogUnknown}},
		"loss is accepted":  {change: func(f *failover.Facts) { f.Log = nil }, request: failover.Request{AcceptLoss: true}, to: "s1-c"},

		"just now":              {change: func(f *failover.Facts) { f.Record.History = []cluster.Promotion{promotion(time.Minute, false)} }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedPause}},
		"just now, but planned": {change: func(f *failover.Facts) { f.Record.History = []cluster.Promotion{promotion(time.Minute, true)} }, request: automatic, to: "s1-c"},
		"just now, but asked to": {
			change:  func(f *failover.Facts) { f.Record.History = []cluster.Promotion{promotion(time.Minute, false)} },
			request: failover.Request{IgnorePause: true}, to: "s1-c",
		},
		"flapping": {change: func(f *failover.Facts) {
			f.Record.History = []cluster.Promotion{promotion(50*time.Minute, false), promotion(30*time.Minute, false), promotion(10*time.Minute, false)}
		}, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedFlapping}},
		"long ago": {change: func(f *failover.Facts) {
			f.Record.History = []cluster.Promotion{promotion(70*time.Minute, false), promotion(30*time.Minute, false), promotion(10*time.Minute, false)}
		}, request: automatic, to: "s1-c"},
		"another shard": {change: func(f *failover.Facts) { f.UnderWay = []string{"s2"} }, request: automatic, to: "s1-c"},
		"two others":    {change: func(f *failover.Facts) { f.UnderWay = []string{"s2", "s3"} }, request: automatic, to: "s1-c", refused: []failover.RefusalCode{failover.RefusedBusy}},
		"under way": {change: func(f *failover.Facts) {
			f.Shard.Databases[0].Role, f.Record.Intent = cluster.Replica, &cluster.Intent{From: "s1-a", To: "s1-b"}
		}, request: automatic, to: "s1-b", refused: []failover.RefusalCode{failover.RefusedUnderWay}},
		"no primary": {change: func(f *failover.Facts) { f.Shard.Databases[0].Role = cluster.Replica }, request: automatic, refused: []failover.RefusalCode{failover.RefusedNoPrimary}},
	} {
		t.Run(name, func(t *testing.T) {
			f := lost()
			if test.change != nil {
				test.change(f)
			}
			p := failover.Decide(f, rules(), test.request)
			var refused []failover.RefusalCode
			for _, r := range p.Refusals {
				refused = append(refused, r.Code)
			}
			if p.To != test.to || !slices.Equal(refused, test.refused) {
				t.Errorf("got %q, refused %v; want %q, %v\n%+v", p.To, p.Refusals, test.to, test.refused, p)
			}
			if p.Allowed() && p.Term != 5 {
				t.Errorf("the term becomes %d, want 5", p.Term)
			}
			if diff := cmp.Diff(p, failover.Decide(f, rules(), test.request)); diff != "" {
				t.Errorf("the same facts make another plan:\n%s", diff)
			}
		})
	}
}

// TestAutomaticPlansAreSafe: whatever the facts, a change that nobody asked for is allowed only if most proxies and some replica say that the primary
// is down and nobody among the replicas the contrary, to a database that holds at least as much as every other one that fits, and that the log can
// bring up to date (INV-4).
func TestAutomaticPlansAreSafe(t *testing.T) {
	t.Parallel()
	words := rapid.SampledFrom([]failover.Word{failover.WordAlive, failover.WordDown, failover.WordDown, failover.WordDown, failover.WordUnknown})
	states := rapid.SampledFrom([]cluster.DatabaseState{cluster.Attached, cluster.Attached, cluster.Attached, cluster.Detached, cluster.Diverged})
	allowed := 0
	rapid.Check(t, func(t *rapid.T) {
		f := lost()
		f.Proxies = nil
		for i := range rapid.IntRange(0, 4).Draw(t, "proxies") {
			f.Proxies = append(f.Proxies, failover.ProxyWord{Member: fmt.Sprint(i), Word: words.Draw(t, "proxy's word")})
		}
		for i := range f.Shard.Databases[1:] {
			d := &f.Shard.Databases[i+1]
			d.State, d.Unpromotable = states.Draw(t, "state"), rapid.Bool().Draw(t, "unpromotable")
			s := member(rapid.Uint64Range(1, 9).Draw(t, "gtid"), rapid.Uint64Range(2, 9).Draw(t, "offset"))
			s.Word = words.Draw(t, "replica's word")
			if rapid.IntRange(0, 3).Draw(t, "away") == 0 {
				s = &failover.Server{Error: "away", Word: failover.WordUnknown}
			}
			f.Servers[d.ID] = s
		}
		f.Log.Partitions[0] = failover.LogRange{First: rapid.Uint64Range(1, 4).Draw(t, "log"), Next: 9}
		p := failover.Decide(f, rules(), failover.Request{Automatic: true})
		if !p.Allowed() {
			return
		}
		allowed++
		down := 0
		for _, proxy := range f.Proxies {
			if proxy.Word == failover.WordDown {
				down++
			}
		}
		heard := slices.ContainsFunc(f.Shard.Databases[1:], func(d cluster.Database) bool {
			return d.State == cluster.Attached && f.Servers[d.ID].Word == failover.WordAlive
		})
		if down*2 <= len(f.Proxies) || heard {
			t.Fatalf("allowed without agreement: %v", p.Words)
		}
		chosen, _ := f.Shard.Database(p.To)
		s := f.Servers[p.To]
		if chosen.State != cluster.Attached || chosen.Unpromotable || s.Member == nil {
			t.Fatalf("%+v becomes the primary", chosen)
		}
		for _, c := range p.Candidates {
			if own := slices.IndexFunc(p.Candidates, func(c failover.Candidate) bool { return c.Database == p.To }); c.Fit && c.Holds > p.Candidates[own].Holds {
				t.Fatalf("%s holds more than %s", c.Database, p.To)
			}
		}
		for _, c := range s.Checkpoints {
			if in := f.Log.Partitions[c.Partition]; in.First > min(c.NextOffset, c.WindowFrom) || in.Next < c.NextOffset {
				t.Fatalf("the log holds %+v, the new primary needs it from %d (window %d)", in, c.NextOffset, c.WindowFrom)
			}
		}
	})
	if allowed == 0 {
		t.Error("no plan was allowed: the property was not tested")
	}
}
