package shardproxy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	shardproxy "github.com/quipudb/quipu/shard-proxy"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// A ranking is kept until a late event of its type touches its range, of whichever key.
func TestRankingsAreKept(t *testing.T) {
	r := caching(t, shared)
	other := r.sibling()
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(keyOf(1, 0), 5)))
	for p := range 4 {
		if p != 1 {
			beat := request(r.claim(p), 1, 1)
			beat.Partition = p
			r.mustApply(beat)
		}
	}
	ask := func(from, to int64) *wire.TopAnswer {
		out := &wire.TopAnswer{}
		if err := r.post(wire.PathTop, &wire.TopRequest{Type: "view", From: from, To: to, N: 3}, out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	kept := func(from, to int64) {
		testkit.Eventually(t, patience, func() error {
			ask(from, to)
			if before := r.metric("cache_answers_total", "hit"); ask(from, to).Sources[0].Role != wire.RoleCache || r.metric("cache_answers_total", "hit") != before+1 {
				return errors.New("not kept")
			}
			return nil
		})
	}
	kept(countedAt, countedAt+1)
	kept(countedAt-5, countedAt)
	other.mustApply(request(epoch, 2, 3, counted(keyOf(1, 3), 50)))
	testkit.Eventually(t, patience, func() error {
		if got := ask(countedAt, countedAt+1); len(got.Entries) != 2 || got.Entries[0].Count != 50 || got.Coverage.Answered != 4 {
			return fmt.Errorf("got %+v", got)
		}
		return nil
	})
	if got := ask(countedAt-5, countedAt); len(got.Entries) != 0 || got.Sources[0].Role != wire.RoleCache {
		t.Errorf("a ranking that nothing touched: %+v", got)
	}
}

// Many keys in one call: those that are kept are not asked again.
func TestCallsAreAnsweredInParts(t *testing.T) {
	r := caching(t, shared)
	epoch := r.claim(1)
	var rows []wire.Row
	var keys []string
	for i := range 6 {
		keys = append(keys, keyOf(1, i))
		rows = append(rows, counted(keys[i], int64(i+1)))
	}
	r.mustApply(request(epoch, 1, 2, rows...))
	r.warm(closed(keys[:3]...))
	statements := asked(t, shared.Primary, keys[1])
	others := asked(t, shared.Primary, keys[4])
	answer, err := r.ask(closed(append(keys, keys[1])...))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range answer.Keys {
		got = append(got, fmt.Sprint(k.Key, "=", k.Points[0].Count))
	}
	var want []string
	for i, key := range append(keys, keys[1]) {
		want = append(want, fmt.Sprint(key, "=", i%5+1))
	}
	want[5], want[6] = fmt.Sprint(keys[5], "=", 6), fmt.Sprint(keys[1], "=", 2)
	if g, w := strings.Join(got, " "), strings.Join(want, " "); g != w {
		t.Errorf("got %s, want %s", g, w)
	}
	if statements() != 0 || len(answer.Sources) != 2 {
		t.Errorf("%d statements for a key that is kept (%d for another), sources %+v", statements(), others(), answer.Sources)
	}
	if r.metric("cache_bytes") <= 0 || r.metric("cache_entries_count") < 6 || r.metric("cache_bytes") > math.MaxInt32 {
		t.Error("the metrics tell nothing of what is kept")
	}
}

// Asked together, questions are answered with what is kept, and null where nothing is.
func TestOnlyWhatIsKept(t *testing.T) {
	r := caching(t, shared)
	epoch := r.claim(1)
	key, other := keyOf(1, 0), keyOf(1, 1)
	r.mustApply(request(epoch, 1, 2, counted(key, 7), counted(other, 8)))
	want := r.warm(closed(key))
	var lines []byte
	for _, request := range []any{closed(key), closed(other), "nonsense", closed(key, other), &wire.StatsRequest{Type: "view", Keys: []string{key}, To: 5, MinAsOf: math.MaxInt64}} {
		line, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(append(lines, line...), '\n')
	}
	reply, err := r.client.Bytes(t.Context(), "POST", r.url+wire.PathKept, wire.LinesType, lines)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(reply.Body), "\n"), "\n")
	answer := &wire.StatsAnswer{}
	if err := json.Unmarshal([]byte(got[0]), answer); err != nil || answer.Keys[0].Points[0].Count != 7 || answer.AsOf < want.AsOf || answer.Sources[0].Role != wire.RoleCache {
		t.Errorf("got %s, %v", got[0], err)
	}
	if rest := strings.Join(got[1:], " "); rest != "null null null null" {
		t.Errorf("got %s of what is not kept", rest)
	}
}

// Before version 8 late changes are not told: closed ranges are kept as open ones are.
func TestOlderSchemaKeepsForAMoment(t *testing.T) {
	r := caching(t, shared, func(cfg *shardproxy.Config) { cfg.Cache.OpenFor = 50 * time.Millisecond })
	exec(t, shared.Primary, "DROP TABLE quipu.late_changes_told")
	key := keyOf(1, 0)
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(key, 1)))
	r.gives(closed(key), 1, false)
	r.sibling().mustApply(request(epoch, 2, 3, counted(key, 1)))
	testkit.Eventually(t, patience, func() error {
		answer, err := r.ask(closed(key))
		if err == nil && answer.Keys[0].Points[0].Count != 2 {
			return fmt.Errorf("got %+v", answer)
		}
		return err
	})
}
