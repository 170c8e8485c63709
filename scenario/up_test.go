package scenario_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// launcher is a run of `quipu up`.
type launcher struct {
	*local.Process
	dir string
}

const upSays = "Ctrl-C stops everything"

// launch runs `quipu up` and waits until it says what to try.
func launch(t *testing.T, dir string, args ...string) *launcher {
	t.Helper()
	log := filepath.Join(t.TempDir(), "up.log")
	p, err := local.StartProcess(local.Command{
		Name: "quipu up", Path: testkit.Binary(t), Args: append([]string{"up", "--data", dir, "--database-cache", "64MiB", "--port-base", "-1"}, args...),
		LogFile: log, DieWithParent: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &launcher{Process: p, dir: dir}
	t.Cleanup(func() {
		l.stop(t)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := local.StopLeftovers(ctx, dir); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("quipu up said:\n%s", l.LogTail(200))
		}
	})
	testkit.Eventually(t, startPatience, func() error {
		select {
		case <-p.Done():
			t.Fatalf("quipu up ended: %v", p.Err())
		default:
		}
		if !strings.Contains(p.LogTail(30), upSays) {
			return fmt.Errorf("quipu up is not done:\n%s", p.LogTail(5))
		}
		return nil
	})
	if d := l.describe(t); d.LauncherPID != p.PID() {
		t.Fatalf("cluster.json is of launcher %d, want %d", d.LauncherPID, p.PID())
	}
	return l
}

func (l *launcher) describe(t *testing.T) local.Description {
	t.Helper()
	d, err := local.ReadDescription(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stop is Ctrl-C.
func (l *launcher) stop(t *testing.T) {
	t.Helper()
	select {
	case <-l.Done():
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	if err := l.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := l.Err(); err != nil {
		t.Errorf("quipu up ended with %v, want a clean end", err)
	}
}

// triesOut runs a command that quipu up printed, as pasted into a shell.
func triesOut(t *testing.T, command string) string {
	t.Helper()
	var errs bytes.Buffer
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", command)
	shell.Stderr = &errs
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, errs.Bytes())
	}
	return string(out)
}

var (
	curlSays = regexp.MustCompile(`(?m)^  (curl .*|\w+ --defaults-file=.*)$`)
	shown    = regexp.MustCompile(`(?m)^  departure  ATL +([0-9]+) `)
)

// TestUp goes the way of somebody who tries Quipu: up, the commands that it prints, Ctrl-C, up again, kill -9, up again. Counts stay.
func TestUp(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first := launch(t, dir)
	says := first.LogTail(200)
	commands := curlSays.FindAllString(says, -1)
	if len(commands) != 3 {
		t.Fatalf("quipu up offers %d commands, want 3:\n%s", len(commands), says)
	}
	if out := triesOut(t, commands[0]); !strings.Contains(out, `"accepted":1`) {
		t.Errorf("%s: %s", commands[0], out)
	}
	// On a busy machine its wait=5s may end first; and it may be answered by the primary, while an analyst's way in is the replica.
	for i, want := range map[int]string{1: `"value":340`, 2: " 340 "} {
		testkit.Eventually(t, patience, func() error {
			if out := triesOut(t, commands[i]); !strings.Contains(out, want) {
				return fmt.Errorf("%s: %s", commands[i], out)
			}
			return nil
		})
	}
	sample := shown.FindStringSubmatch(says)
	if sample == nil || sample[1] == "0" {
		t.Fatalf("quipu up shows no counts of the sample:\n%s", says)
	}
	askInSQL(t, first.describe(t))
	addresses := first.describe(t).URLs

	// As when the terminal is closed.
	if err := syscall.Kill(first.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if said := first.LogTail(20); !strings.Contains(said, "the data stays in") {
			return fmt.Errorf("after SIGHUP quipu up said:\n%s", said)
		}
		return nil
	})
	first.stop(t)
	if said := first.LogTail(200); !strings.Contains(said, "zookeeper stopped") || !strings.Contains(said, "the data stays") {
		t.Errorf("at the end quipu up said:\n%s", said)
	}

	second := launch(t, dir)
	if again := shown.FindStringSubmatch(second.LogTail(200)); again == nil || again[1] != sample[1] {
		t.Errorf("the sample's counts are %v after a second start, were %v", again, sample)
	}
	d := second.describe(t)
	if d.URLs["reader"] != addresses["reader"] || d.URLs["ingest"] != addresses["ingest"] {
		t.Errorf("addresses are %v after a second start, were %v", d.URLs, addresses)
	}
	expectCount(t, d, "view", "v1", 1)
	postOne(t, d.URLs["ingest"], `{"type":"view","key":"v1","id":"before the kill","value":60}`)

	if err := second.Kill(); err != nil {
		t.Fatal(err)
	}
	third := launch(t, dir)
	if said := third.LogTail(200); !strings.Contains(said, "that an earlier launcher left running") {
		t.Errorf("after kill -9 quipu up said:\n%s", said)
	}
	d = third.describe(t)
	// The same event again is a duplicate, also after all of that.
	postOne(t, d.URLs["ingest"], `{"type":"view","key":"v1","id":"before the kill","value":60}`)
	expectCount(t, d, "view", "v1", 2)

	// A second launcher on the same folder is refused; a second Ctrl-C kills.
	out, err := exec.CommandContext(t.Context(), testkit.Binary(t), "up", "--data", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another `quipu up`") {
		t.Errorf("a second launcher: %v\n%s", err, out)
	}
	slow := slowRequest(t, d.URLs["ingest"]) // a stop in order waits for it
	interrupt(t, third)
	testkit.Eventually(t, patience, func() error {
		if said := third.LogTail(50); !strings.Contains(said, "writer stopped") {
			return fmt.Errorf("after Ctrl-C quipu up said:\n%s", said)
		}
		return nil
	})
	again := time.NewTimer(time.Second / 2) // sooner it counts as the same
	<-again.C
	interrupt(t, third)
	select {
	case <-third.Done():
	case <-time.After(patience):
		t.Fatal("two Ctrl-C did not end quipu up")
	}
	_ = slow.Close()
	if said := third.LogTail(50); !strings.Contains(said, "ingest killed") {
		t.Errorf("after a second Ctrl-C quipu up said:\n%s", said)
	}
	if n, err := local.StopLeftovers(t.Context(), dir); err != nil || n > 0 {
		t.Errorf("two Ctrl-C left %d processes running (%v)", n, err)
	}
}

func interrupt(t *testing.T, l *launcher) {
	t.Helper()
	if err := syscall.Kill(l.PID(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// slowRequest begins a request whose body never ends.
func slowRequest(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp4", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "POST /v1/events HTTP/1.1\r\nHost: quipu\r\nContent-Length: 100\r\n\r\n[{"); err != nil {
		t.Fatal(err)
	}
	return conn
}

func postOne(t *testing.T, ingest, body string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		answer, err := http.Post(ingest+"/v1/events", "application/json", strings.NewReader(body))
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		var outcome struct {
			Accepted int `json:"accepted"`
		}
		if err := json.NewDecoder(answer.Body).Decode(&outcome); err != nil || answer.StatusCode != http.StatusAccepted || outcome.Accepted != 1 {
			return fmt.Errorf("status %d, %+v, %v", answer.StatusCode, outcome, err)
		}
		return nil
	})
}

// expectCount compares what the reader and an analyst in SQL see of a key.
func expectCount(t *testing.T, d local.Description, eventType, key string, want float64) {
	t.Helper()
	awaitCounted(t, d.URLs["reader"])
	answer := ask(t, d.URLs["reader"], "", []question{{Type: eventType, Key: key, Function: "count"}})
	var got float64
	if err := json.Unmarshal(answer.Results[0].Value, &got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("the reader counts %v of %s %s, want %v", got, eventType, key, want)
	}
	testkit.Eventually(t, patience, func() error {
		if count, shards := analystCount(t, d, eventType, key); float64(count) != want || len(shards) != 1 {
			return fmt.Errorf("analysts count %d of %s %s on %v, want %v on one shard", count, eventType, key, shards, want)
		}
		return nil
	})
}

func TestUpRefusesPlainly(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "notes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"folder of something else", []string{"--data", full}, 1, "notes.txt"},
		{"too many shards", []string{"--data", t.TempDir(), "--shards", "99"}, 1, "shards must be at most 16"},
		{"unknown setting", []string{"--data", t.TempDir(), "--set", "writer.flush=1s"}, 2, "writer.flush"},
		{"configuration file", []string{"--data", t.TempDir(), "--config", "x.yaml"}, 2, "use --set"},
		{"argument", []string{"now"}, 2, "now"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), testkit.Binary(t), append([]string{"up"}, test.args...)...).CombinedOutput()
			exit, ok := err.(*exec.ExitError)
			if !ok || exit.ExitCode() != test.code || !strings.Contains(string(out), test.says) {
				t.Errorf("%v, want exit status %d and %q:\n%s", err, test.code, test.says, out)
			}
		})
	}
}
