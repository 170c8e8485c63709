package shardproxy_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	shardproxy "github.com/quipudb/quipu/shard-proxy"

	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// INV-4: what the stored checkpoint refuses crosses as a code with the checkpoint.
func TestApplyOverHTTP(t *testing.T) {
	r := newRig(t, shared)
	epoch := r.claim(1)
	first := request(epoch, 1, 3, counted(keyOf(1, 0), 5), counted(keyOf(1, 1), 2))
	r.mustApply(first)
	wantCheckpoint := wire.Checkpoint{Partition: 1, Epoch: epoch, NextOffset: 3, WindowFrom: 1, AsOf: first.AsOf, Incarnation: "log-1", Checksum: 3, Owner: "w1"}
	for name, test := range map[string]struct {
		request *wire.ApplyRequest
		code    wire.Code
		stored  bool
	}{
		"again":         {first, wire.CodeOffsetMoved, true},
		"other epoch":   {request(epoch+1, 3, 4, counted("a", 1)), wire.CodeFenced, true},
		"not owned":     {&wire.ApplyRequest{Partition: 5, Epoch: epoch, Expected: 1, Next: 2}, wire.CodeMisrouted, false},
		"no progress":   {request(epoch, 3, 3, counted("a", 1)), wire.CodeUnapplicable, false},
		"impossible":    {request(epoch, 3, 4, counted("", 1)), wire.CodeUnapplicable, false},
		"a wrong type":  {request(epoch, 3, 4, wire.Row{Type: "No", Key: "a"}), wire.CodeUnapplicable, false},
		"another log's": {&wire.ApplyRequest{Partition: 1, Epoch: epoch, Expected: 3, Next: 4, Incarnation: "log-2"}, wire.CodeOffsetMoved, true},
	} {
		err := r.apply(test.request)
		if got := wire.CodeOf(err); got != test.code {
			t.Errorf("%s: got %v, want %s", name, err, test.code)
			continue
		}
		if test.stored {
			if diff := cmp.Diff(&wantCheckpoint, r.failsWith(test.code, func() error { return err }).Checkpoint); diff != "" {
				t.Errorf("%s: checkpoint (-want +got):\n%s", name, diff)
			}
		}
	}
	r.servers.AwaitReplica(t)
	answer, err := r.stats(keyOf(1, 1), keyOf(1, 0), keyOf(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range answer.Keys {
		got = append(got, fmt.Sprint(k.Key, " ", k.Known, " ", k.Points[0].Count))
	}
	want := []string{keyOf(1, 1) + " true 2", keyOf(1, 0) + " true 5", keyOf(1, 2) + " false 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestBadBodiesAreRefused(t *testing.T) {
	r := newRig(t, shared)
	epoch := r.claim(1)
	good := wire.EncodeApply(nil, request(epoch, 1, 2, counted("a", 1)))
	damaged := append([]byte{}, good...)
	damaged[len(damaged)/2] ^= 1
	for name, test := range map[string]struct {
		query, contentType string
		body               []byte
		code               wire.Code
	}{
		"damaged":           {"", wire.ApplyType, damaged, wire.CodeBadRequest},
		"empty":             {"", wire.ApplyType, nil, wire.CodeBadRequest},
		"cut off":           {"", wire.ApplyType, good[:20], wire.CodeBadRequest},
		"another partition": {"?partition=2", wire.ApplyType, good, wire.CodeBadRequest},
		"JSON":              {"", wire.JSONType, []byte("{}"), wire.CodeMediaType},
		"too long":          {"", wire.ApplyType, make([]byte, wire.MaxApplyBytes+1), wire.CodeTooLarge},
	} {
		_, err := r.client.Bytes(t.Context(), http.MethodPost, r.url+wire.PathApply+test.query, test.contentType, test.body)
		if got := wire.CodeOf(err); got != test.code {
			t.Errorf("%s: got %v, want %s", name, err, test.code)
		}
	}
	for path, body := range map[string]string{wire.PathStats: "{", wire.PathClaim: `{"partition":"x"}`, wire.PathTop: "[]"} {
		_, err := r.client.Bytes(t.Context(), http.MethodPost, r.url+path, wire.JSONType, []byte(body))
		if got := wire.CodeOf(err); got != wire.CodeBadRequest {
			t.Errorf("%s: got %v, want %s", path, err, wire.CodeBadRequest)
		}
	}
	if err := r.post(wire.PathClaim, wire.ClaimRequest{Partition: 1, Owner: strings.Repeat("x", 256)}, &wire.Checkpoint{}); wire.CodeOf(err) != wire.CodeBadRequest {
		t.Errorf("claim with a long owner: got %v", err)
	}
	r.mustApply(request(epoch, 1, 2, counted("a", 1))) // none of them did anything
}

// INV-9: beyond its room a class refuses, and what waited is served once there is room again.
func TestFullClassRefuses(t *testing.T) {
	r := newRig(t, shared)
	epochs := map[int]uint64{}
	for p := range 4 {
		epochs[p] = r.claim(p)
	}
	r.mustApply(request(epochs[1], 1, 2, counted(keyOf(1, 0), 1)))
	blocker, err := shared.Primary.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close()
	if _, err := blocker.ExecContext(t.Context(), "LOCK TABLES quipu.minute_counts WRITE"); err != nil {
		t.Fatal(err)
	}
	var rows []wire.Row
	for i := range 400 { // more than a small call
		rows = append(rows, counted(fmt.Sprint("key-", i), 1))
	}
	results := make(chan error, 4+64+20)
	var wg sync.WaitGroup
	for range cap(results) {
		wg.Go(func() { results <- r.apply(request(epochs[1], 2, 3, rows...)) })
	}
	refused := 0
	for refused < 20 {
		err := <-results
		p := r.failsWith(wire.CodeOverloaded, func() error { return err })
		if p.RetryAfter <= 0 {
			t.Error("refused without Retry-After")
		}
		refused++
	}
	// Another class has room still.
	if _, err := blocker.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	close(results)
	committed := 0
	for err := range results {
		switch wire.CodeOf(err) {
		case "":
			committed++
		case wire.CodeOffsetMoved, wire.CodeUnavailable, wire.CodeOverloaded:
		default:
			t.Errorf("got %v", err)
		}
	}
	if committed != 1 {
		t.Errorf("%d of the same request were committed, want 1", committed)
	}
}

// The largest flush that a writer sends is still one transaction.
func TestLargeFlush(t *testing.T) {
	r := newRig(t, shared)
	epoch := r.claim(1)
	const keys = 100_000
	rows := make([]wire.Row, keys)
	for i := range rows {
		rows[i] = counted(fmt.Sprint("key-", i), int64(i%7)+1)
	}
	for round := range uint64(2) { // with new keys, with known ones
		r.mustApply(request(epoch, round+1, round+2, rows...))
	}
	var got, want int64
	for i := range int64(keys) {
		want += 2 * (i%7 + 1)
	}
	if err := shared.Primary.Root().QueryRow("SELECT SUM(event_count) FROM quipu.minute_counts").Scan(&got); err != nil || got != want {
		t.Errorf("got %d, %v; want %d", got, err, want)
	}
}

// Time partitions and event types are there before the first flush.
func TestRunPreparesAhead(t *testing.T) {
	r := newRig(t, shared)
	testkit.Eventually(t, patience, func() error {
		var parts, types int
		err := r.servers.Primary.Root().QueryRow(`SELECT (SELECT COUNT(*) FROM information_schema.partitions WHERE table_schema = 'quipu' AND table_name = 'minute_counts'),
			(SELECT COUNT(*) FROM quipu.event_types WHERE name = 'view' AND unit = 'ms')`).Scan(&parts, &types)
		if err == nil && (parts < 48 || types != 1) {
			err = fmt.Errorf("%d time partitions, %d types", parts, types)
		}
		return err
	})
}

func TestImportAndLookup(t *testing.T) {
	r := newRig(t, shared)
	title, owner := "First", "Ann"
	attributes := wire.KeyAttributes{Type: "view", Key: keyOf(2, 0), Title: &title, Owner: &owner}
	for _, want := range []wire.KeysImported{{Created: 1}, {Updated: 1}} {
		var got wire.KeysImported
		if err := r.post(wire.PathKeysImport, wire.KeysImport{Keys: []wire.KeyAttributes{attributes}}, &got); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	r.servers.AwaitReplica(t)
	var info wire.KeyInfo
	if err := r.post(wire.PathKeyInfo, wire.KeyRequest{Type: "view", Key: keyOf(2, 0)}, &info); err != nil {
		t.Fatal(err)
	}
	if !info.Known || info.Title != title || info.Owner != owner || info.Partition != 2 || info.Shard != "s1" || info.Coverage.Answered != 1 {
		t.Errorf("got %+v", info)
	}
	elsewhere := wire.KeyAttributes{Type: "view", Key: keyOf(6, 0), Title: &title}
	if err := r.post(wire.PathKeysImport, wire.KeysImport{Keys: []wire.KeyAttributes{attributes, elsewhere}}, &wire.KeysImported{}); wire.CodeOf(err) != wire.CodeMisrouted {
		t.Errorf("key of another shard: got %v, want %s", err, wire.CodeMisrouted)
	}
}

// A caller's deadline ends the call, and the server's statement with it.
func TestCallersDeadlineIsKept(t *testing.T) {
	r := newRig(t, shared)
	epoch := r.claim(1)
	blocker, err := shared.Primary.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close()
	if _, err := blocker.ExecContext(t.Context(), "LOCK TABLES quipu.checkpoints WRITE"); err != nil {
		t.Fatal(err)
	}
	quick := wire.NewClient(wire.ClientConfig{Timeout: 300 * time.Millisecond})
	defer quick.Close()
	body := wire.EncodeApply(nil, request(epoch, 1, 2, counted("a", 1)))
	if _, err := quick.Bytes(t.Context(), http.MethodPost, r.url+wire.PathApply, wire.ApplyType, body); wire.CodeOf(err) != wire.CodeDeadline {
		t.Errorf("got %v, want %s", err, wire.CodeDeadline)
	}
	if _, err := blocker.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	r.mustApply(request(epoch, 1, 2, counted("a", 1)))
}

// While a replica falls behind by its checkpoints, though its server applies what it gets, flushes are sent away to come back later;
// heartbeats are not.
func TestWritersAreSlowedDownWhileAReplicaFallsBehind(t *testing.T) {
	r := newRig(t, shared, func(c *shardproxy.Config) { c.ThrottleLag = 200 * time.Millisecond }).bothHealthy()
	stop := r.beats()
	defer stop()
	lock, err := shared.Replica.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := lock.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
			t.Error(err)
		}
	}()
	large := request(0, 7, 8, manyRows(200)...)               // refused for its epoch, at the earliest
	problem := r.failsWith(wire.CodeThrottled, func() error { // of several at a time, once lag has grown for some looks
		errs := make([]error, 6)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = r.apply(large) })
		}
		all.Wait()
		for _, err := range errs {
			if wire.CodeOf(err) == wire.CodeThrottled {
				return err
			}
		}
		return errs[0]
	})
	if problem.RetryAfter < time.Second {
		t.Errorf("sent away for %s, want a second at least", problem.RetryAfter)
	}
	r.failsWith(wire.CodeFenced, func() error { return r.apply(request(0, 7, 8)) })
}

func manyRows(n int) []wire.Row {
	rows := make([]wire.Row, n)
	for i := range rows {
		rows[i] = counted(keyOf(1, 0)+strings.Repeat("x", 40)+strconv.Itoa(i), 1)
	}
	return rows
}
