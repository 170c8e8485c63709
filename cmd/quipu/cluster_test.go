package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/testkit"
)

const topologyText = `
partitions: 4
shards:
  - id: s1
    databases:
      - {id: s1-a, address: "127.0.0.1:1001", role: primary, zone: a}
      - {id: s1-b, address: "127.0.0.1:1002", role: replica, zone: b}
  - id: s2
    databases:
      - {id: s2-a, address: "127.0.0.1:1003", role: primary}
`

// writeFile returns the path of a new file.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestClusterAndEventTypes(t *testing.T) {
	server := testkit.ZooKeeper(t)
	environ := []string{"QUIPU_CLUSTER_ZOOKEEPER=" + server.Address(), "QUIPU_LOG_LEVEL=error"}
	run := func(args ...string) outcome { return quipu(t, environ, args...) }
	expect := func(code int, text string, args ...string) {
		t.Helper()
		got := run(args...)
		if got.code != code || !strings.Contains(got.out+got.errors, text) {
			t.Errorf("quipu %v: got %+v, want exit code %d and %q", args, got, code, text)
		}
		if code != exitDone && strings.Count(got.errors, "\n") != 1 {
			t.Errorf("quipu %v: got %q, want one line", args, got.errors)
		}
	}

	expect(exitFailed, "no cluster has been created", "cluster", "show")
	expect(exitFailed, "no cluster has been created", "event-type", "create", "view")
	topology := writeFile(t, "topology.yaml", topologyText)
	expect(exitDone, "created the cluster quipu-", "cluster", "init", "--topology", topology)
	expect(exitDone, "is there already", "cluster", "init", "--topology", topology)
	other := writeFile(t, "other.yaml", strings.Replace(topologyText, "1003", "1004", 1))
	expect(exitFailed, "exists with another topology", "cluster", "init", "--topology", other)
	expect(exitFailed, `but cluster.name is "other"`, "cluster", "init", "--topology", topology, "--set", "cluster.name=other")
	expect(exitFailed, "was created with a de-duplication window of 10m0s, but cluster.window is 5m0s", "cluster", "init", "--topology", topology, "--set", "cluster.window=5m")
	expect(exitUsage, "no such file", "cluster", "init", "--topology", topology+"x")

	expect(exitDone, "\ns1     0-1         s1-a      primary  ", "cluster", "show")
	if text := run("cluster", "show").out; strings.Contains(text, " \n") {
		t.Errorf("got %q, want no blanks at the ends of lines", text)
	}
	var shown cluster.Snapshot
	if err := json.Unmarshal([]byte(run("cluster", "show", "--json").out), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Settings.Window != 10*time.Minute {
		t.Errorf("got a window of %s, want the default of 10m", shown.Settings.Window)
	}
	if shown.Settings.Partitions != 4 || shown.Settings.DedupKey != "(redacted)" || len(shown.Topology.Shards) != 2 {
		t.Errorf("got %+v, want the cluster without its key", shown)
	}

	create := []string{"event-type", "create", "view", "--unit", "ms", "--accept-late", "120d"}
	expect(exitDone, "registered the event type view", create...)
	expect(exitDone, "registered already", create...)
	expect(exitFailed, "exists with another definition", "event-type", "create", "view", "--unit", "s")
	expect(exitDone, "registered the event type like", "event-type", "create", "like", "--allow-negative", "--description", "a thumb")
	expect(exitDone, "view  ms    no        120d", "event-type", "list")
	expect(exitDone, "a thumb", "event-type", "describe", "like")
	expect(exitDone, `"accept_late":"120d"`, "event-type", "describe", "view", "--json")
	expect(exitFailed, `no event type is named "share"`, "event-type", "describe", "share")
	var types []map[string]any
	if err := json.Unmarshal([]byte(run("event-type", "list", "--json").out), &types); err != nil || len(types) != 2 {
		t.Errorf("got %v, %v, want two types", types, err)
	}
}

func TestZooKeeperThatIsAwayIsToldWithinABound(t *testing.T) {
	t.Parallel() // it waits for the whole bound
	got := quipu(t, []string{"QUIPU_CLUSTER_ZOOKEEPER=127.0.0.1:1", "QUIPU_LOG_LEVEL=error"}, "event-type", "list")
	if got.code != exitFailed || !strings.Contains(got.errors, "no ZooKeeper answered at 127.0.0.1:1 within 10s: does it run") {
		t.Errorf("got %+v, want exit code %d and the server's address", got, exitFailed)
	}
}

func TestRanges(t *testing.T) {
	for want, numbers := range map[string][]int{"none": nil, "3": {3}, "0-2": {0, 1, 2}, "0-1, 4, 6-7": {0, 1, 4, 6, 7}} {
		if got := ranges(numbers); got != want {
			t.Errorf("got %q for %s, want %q", got, fmt.Sprint(numbers), want)
		}
	}
}
