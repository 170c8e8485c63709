package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// startTimeout bounds how long a role may take to be ready; a busy machine is no failure.
const startTimeout = time.Minute

// running is a role that runs within this process.
type running struct {
	name string
	stop context.CancelFunc
	done chan outcome
}

// start runs a role's command on a free port, with a data folder of its own.
func (b *bed) start(name string, args ...string) *running {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	r := &running{name: name, stop: cancel, done: make(chan outcome, 1)}
	args = append(args, "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(b.t.TempDir(), name), "--set", "cluster.member_id="+name, "--log-level", "info")
	go func() { r.done <- quipuIn(ctx, b.environ, "", args...) }()
	b.t.Cleanup(func() {
		if got := r.end(); b.t.Failed() {
			b.t.Logf("%s ended with code %d and said:\n%s", r.name, got.code, got.errors)
		}
	})
	return r
}

// end stops the role and returns how it ended.
func (r *running) end() outcome {
	r.stop()
	got := <-r.done
	r.done <- got
	return got
}

// members returns the registered members by id.
func (b *bed) members() map[string]cluster.Member {
	b.t.Helper()
	var shown cluster.Snapshot
	if err := json.Unmarshal([]byte(b.run("cluster", "show", "--json").out), &shown); err != nil {
		b.t.Fatal(err)
	}
	members := map[string]cluster.Member{}
	for _, ofRole := range shown.Members {
		for _, m := range ofRole {
			members[m.ID] = m
		}
	}
	return members
}

// await waits until all these roles are registered, or gone, and returns where they are.
func (b *bed) await(all []*running, there bool) map[string]cluster.Member {
	b.t.Helper()
	var members map[string]cluster.Member
	testkit.Eventually(b.t, startTimeout, func() error {
		members = b.members()
		for _, r := range all {
			if _, found := members[r.name]; found != there {
				return fmt.Errorf("%s is registered: %t", r.name, found)
			}
		}
		return nil
	})
	return members
}

// fetch makes a request with a token, none if it is empty.
func fetch(t *testing.T, token, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// secure gives the cluster tokens and returns one to write and one to read with.
func (b *bed) secure() (write, read string) {
	var entries []string
	made := map[string]string{}
	for _, scope := range []string{"write", "read"} {
		var token struct{ Token, SHA256 string }
		if err := json.Unmarshal([]byte(b.run("token", "create", scope, "--scopes", scope, "--json").out), &token); err != nil {
			b.t.Fatal(err)
		}
		made[scope] = token.Token
		entries = append(entries, fmt.Sprintf("{name: %s, scopes: [%s], sha256: %s}", scope, scope, token.SHA256))
	}
	b.environ = append(b.environ, "QUIPU_AUTH_TOKENS=["+strings.Join(entries, ", ")+"]", "QUIPU_AUTH_INTERNAL_TOKEN=shared by all roles")
	return made["write"], made["read"]
}

// TestEveryRoleStartsCountsAndStops runs all roles against real servers, with tokens: an event posted is an event counted. They
// start in the order that suits them least, and each waits for what it needs.
func TestEveryRoleStartsCountsAndStops(t *testing.T) {
	b := newBed(t, 2)
	write, read := b.secure()
	b.expect(exitDone, "owns the partitions", "migrate", "up")
	b.expect(exitDone, "registered", "event-type", "create", "view", "--unit", "ms")
	all := []*running{
		b.start("reader", "reader"), b.start("writer", "writer", "--set", "writer.flush_interval=100ms"), b.start("ingest", "ingest"), b.start("cluster-proxy", "cluster-proxy"),
		b.start("shard-proxy-s1", "shard-proxy", "--shard", "s1"), b.start("shard-proxy-s2", "shard-proxy", "--shard", "s2"),
		b.start("rollup", "rollup", "--set", "rollup.interval=100ms"),
	}
	members := b.await(all, true)
	if t.Failed() {
		return
	}

	const events = 20 // keys on several partitions of both shards
	var body strings.Builder
	for i := range events {
		fmt.Fprintf(&body, `{"type":"view","key":"v%d","id":"e%d","value":%d}`+"\n", i%10, i, i)
	}
	for range 2 { // the second time all are duplicates
		status, answer := fetch(t, write, http.MethodPost, members["ingest"].URL+"/v1/events", body.String())
		if status != http.StatusAccepted || !strings.Contains(answer, fmt.Sprintf(`"accepted":%d`, events)) {
			t.Fatalf("got %d %s from POST /v1/events", status, answer)
		}
	}
	for i := range 10 {
		status, answer := fetch(t, read, http.MethodGet, fmt.Sprintf("%s/v1/stats?type=view&key=v%d&function=sum&wait=20s", members["reader"].URL, i), "")
		var got struct{ Value json.Number }
		if err := json.Unmarshal([]byte(answer), &got); err != nil || status != http.StatusOK || got.Value.String() != fmt.Sprint(i+i+10) {
			t.Errorf("got %d %s for the sum of v%d, want %d", status, answer, i, i+i+10)
		}
	}

	for url, token := range map[string]string{members["ingest"].URL + "/v1/events": read, members["cluster-proxy"].URL + wire.PathTop: write} {
		if status, answer := fetch(t, token, http.MethodPost, url, "{}"); status != http.StatusForbidden {
			t.Errorf("got %d %s from %s with a token of another scope, want 403", status, answer, url)
		}
	}

	keys := writeFile(t, "keys.csv", "key,title,owner\nv1,Cats,ann\nnew,Dogs,\n")
	b.expect(exitDone, "keys set: 2, of which new: 1", "keys", "import", keys, "--type", "view")
	b.expect(exitFailed, `no event type is named "like"`, "keys", "import", keys, "--type", "like")
	if status, answer := fetch(t, read, http.MethodGet, members["reader"].URL+"/v1/keys/view/v1", ""); status != 200 || !strings.Contains(answer, "Cats") {
		t.Errorf("got %d %s for the key, want its title", status, answer)
	}

	b.rollUp()
	for _, r := range all {
		for path, want := range map[string]string{"/healthz": "alive", "/readyz": "ready", "/metrics": "quipu_build_info{"} {
			if status, answer := fetch(t, read, http.MethodGet, members[r.name].URL+path, ""); status != 200 || !strings.Contains(answer, want) {
				t.Errorf("got %d from %s of %s, without %q", status, path, r.name, want)
			}
		}
	}
	for _, r := range all {
		if got := r.end(); got.code != exitDone {
			t.Errorf("%s ended with code %d: %s", r.name, got.code, got.errors)
		}
	}
	b.await(all, false)
}

// rollUp tries the commands about the roll-up: a new cluster is complete up to the hour of its creation.
func (b *bed) rollUp() {
	b.t.Helper()
	hour := time.Now().UTC().Truncate(time.Hour).Format(time.RFC3339)
	for _, args := range [][]string{{"rollup", "run", "--until", hour}, {"rollup", "run", "--until", hour, "--shard", "s2"}, {"rollup", "status"}} {
		if got := b.run(args...); !strings.Contains(got.out, "s2     hour        20") {
			b.t.Errorf("%v: got %+v, want the hours of shard s2", args, got)
		}
	}
	var states []wire.RollupState
	if err := json.Unmarshal([]byte(b.run("rollup", "status", "--json").out), &states); err != nil || len(states) != 2 || len(states[1].Marks) != 2 {
		b.t.Errorf("got %+v, %v", states, err)
	}
	b.expect(exitUsage, "flag --until is needed", "rollup", "run")
	b.expect(exitUsage, "must be an instant", "rollup", "run", "--until", "yesterday")
	b.expect(exitUsage, "must not be in the future", "rollup", "run", "--until", "2999-01-01T00:00:00Z")
	b.expect(exitUsage, `the topology has no shard "s9"`, "rollup", "run", "--until", hour, "--shard", "s9")
}

// TestRolesServeWhileZooKeeperIsAway: INV-10, from the routing on disk.
func TestRolesServeWhileZooKeeperIsAway(t *testing.T) {
	server := testkit.ZooKeeper(t)
	data := t.TempDir()
	environ := []string{"QUIPU_CLUSTER_ZOOKEEPER=" + server.Address(), "QUIPU_CLUSTER_DATA_DIR=" + data}
	if got := quipu(t, environ, "cluster", "init", "--topology", writeFile(t, "topology.yaml", topologyText)); got.code != exitDone {
		t.Fatal(got)
	}
	ready := func(role string, away bool) {
		t.Helper()
		listen := freeAddress(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan outcome, 1)
		go func() {
			done <- quipuIn(ctx, environ, "", role, "--listen", listen, "--set", "cluster.member_id="+role)
		}()
		testkit.Eventually(t, startTimeout, func() error {
			resp, err := http.Get("http://" + listen + "/readyz")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: got status %d with ZooKeeper away: %t", role, resp.StatusCode, away)
			}
			return nil
		})
		cancel()
		if got := <-done; got.code != exitDone {
			t.Errorf("%s: got %+v with ZooKeeper away: %t", role, got, away)
		}
	}
	ready("cluster-proxy", false)
	ready("ingest", false)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	ready("cluster-proxy", true)
	ready("ingest", true)
}

func TestRolesRefuseWhatCanNotWork(t *testing.T) {
	_, token, _ := strings.Cut(quipu(t, nil, "token", "create", "a", "--scopes", "read").out, "in auth.tokens: ")
	tokens := "QUIPU_AUTH_TOKENS=[" + strings.TrimSpace(token) + "]"
	data := "QUIPU_CLUSTER_DATA_DIR=" + t.TempDir()
	tests := map[string]struct {
		environ []string
		args    []string
		code    int
		want    string
	}{
		"open to the world": {nil, []string{"reader", "--listen", "0.0.0.0:0"}, exitFailed, "without tokens a server binds to loopback only"},
		"every interface":   {nil, []string{"writer", "--listen", ":0"}, exitFailed, "without tokens a server binds to loopback only"},
		"no internal token": {[]string{tokens}, []string{"reader", "--listen", "0.0.0.0:0"}, exitFailed, "no auth.internal_token_file"},
		"missing secret":    {nil, []string{"reader", "--set", "auth.internal_token_file=/nowhere"}, exitFailed, "read internal token: open /nowhere"},
		"taken address":     {nil, []string{"reader", "--listen", takenAddress(t)}, exitFailed, "address already in use"},
		"bad address":       {nil, []string{"reader", "--listen", "8080"}, exitUsage, `flag --listen: reader.listen: must be host:port, is "8080"`},
		"no shard":          {nil, []string{"shard-proxy", "--listen", "127.0.0.1:0"}, exitUsage, "shard_proxy.shard"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := quipu(t, append(test.environ, data), test.args...)
			if got.code != test.code || !strings.Contains(got.errors, test.want) {
				t.Errorf("got %+v, want exit code %d and %q", got, test.code, test.want)
			}
		})
	}
}

func TestARoleOfAnotherClusterIsRefused(t *testing.T) {
	server := testkit.ZooKeeper(t)
	environ := []string{"QUIPU_CLUSTER_ZOOKEEPER=" + server.Address(), "QUIPU_CLUSTER_DATA_DIR=" + t.TempDir()}
	if got := quipu(t, environ, "cluster", "init", "--topology", writeFile(t, "topology.yaml", topologyText)); got.code != exitDone {
		t.Fatal(got)
	}
	got := quipu(t, append(environ, "QUIPU_CLUSTER_NAME=other"), "cluster-proxy", "--listen", "127.0.0.1:0")
	if got.code != exitFailed || !strings.Contains(got.errors, `but cluster.name is "other"`) {
		t.Errorf("got %+v", got)
	}
	got = quipu(t, append(environ, "QUIPU_CLUSTER_WINDOW=1h"), "cluster-proxy", "--listen", "127.0.0.1:0")
	if got.code != exitFailed || !strings.Contains(got.errors, "but cluster.window is 1h0m0s") {
		t.Errorf("got %+v", got)
	}
}

func TestARoleThatWaitsForTheClusterSaysSo(t *testing.T) {
	server := testkit.ZooKeeper(t) // without a cluster
	listen := freeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan outcome, 1)
	environ := []string{"QUIPU_CLUSTER_ZOOKEEPER=" + server.Address(), "QUIPU_CLUSTER_DATA_DIR=" + t.TempDir()}
	go func() { done <- quipuIn(ctx, environ, "", "reader", "--listen", listen) }()
	client := wire.NewClient(wire.ClientConfig{})
	defer client.Close()
	testkit.Eventually(t, startTimeout, func() error {
		if err := client.JSON(t.Context(), http.MethodGet, "http://"+listen+"/healthz", nil, nil); err != nil {
			return err
		}
		err := client.JSON(t.Context(), http.MethodGet, "http://"+listen+"/readyz", nil, nil)
		if !strings.Contains(fmt.Sprint(err), "waiting for the cluster's state") {
			return fmt.Errorf("got %v from /readyz", err)
		}
		return nil
	})
	cancel()
	if got := <-done; got.code != exitDone {
		t.Errorf("got %+v from a stop while it waited, want none", got)
	}
}
