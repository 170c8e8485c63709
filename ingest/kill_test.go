package ingest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire/httpserver"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// childServes is the child process of TestKillNine: an ingest role on a log in a folder. It prints its address and serves until killed.
func childServes() bool {
	dir := os.Getenv("QUIPU_TEST_INGEST_DIR")
	if dir == "" {
		return false
	}
	if err := serveChild(dir); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return true
}

func serveChild(dir string) error {
	ctx := context.Background()
	log := embedded.New(embedded.Config{Dir: dir, Partitions: testPartitions, SegmentBytes: 64 << 10})
	if err := log.Open(ctx); err != nil {
		return err
	}
	f, err := event.NewFingerprinter(testKey)
	if err != nil {
		return err
	}
	i, err := ingest.New(ingest.Config{Log: log, Registry: anyLog{}, Types: testTypes, Fingerprinter: f})
	if err != nil {
		return err
	}
	server, err := httpserver.New(httpserver.Config{Role: "ingest", Address: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	i.Register(server.Echo(), nil)
	if err := server.Listen(); err != nil {
		return err
	}
	fmt.Println("url", server.URL())
	ended := make(chan error, 2)
	go func() { ended <- i.Run(ctx) }()
	go func() { ended <- server.Run(ctx) }()
	return errors.Join(<-ended, <-ended)
}

// TestKillNine kills the role with events acknowledged up to the last moment, again and again. Senders retry what was not acknowledged.
// At the end every acknowledged identity is in the log, and none that was never sent (INV-1, INV-2).
func TestKillNine(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	sent, acknowledged := map[string]bool{}, map[string]bool{}
	next := 0
	for range 4 {
		child, url := startChild(t, dir)
		var wg sync.WaitGroup
		count := 0
		for range 8 {
			wg.Go(func() {
				for {
					mu.Lock()
					body, ids := killBody(next)
					next++
					for _, id := range ids {
						sent[id] = true
					}
					mu.Unlock()
					if !postedAll(url, body, len(ids)) {
						return // the child is dead; these may be in the log or not
					}
					mu.Lock()
					for _, id := range ids {
						acknowledged[id] = true
					}
					count++
					enough := count == 150
					mu.Unlock()
					if enough {
						if err := child.Process.Kill(); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		_ = child.Wait()
	}
	r := start(t, options{dir: dir, log: embedded.Config{SegmentBytes: 64 << 10}})
	found := r.ids()
	for id := range acknowledged {
		if found[id] == 0 {
			t.Errorf("%s was acknowledged and is not in the log", id)
		}
	}
	for id, n := range found {
		if !sent[id] || n != 1 {
			t.Errorf("%s is in the log %d times, sent: %v", id, n, sent[id])
		}
	}
	if len(acknowledged) < 4*150*7 {
		t.Errorf("got only %d acknowledged events", len(acknowledged))
	}
}

func killBody(n int) (body string, ids []string) {
	var events []string
	for i := range 7 {
		key, id := "k"+strconv.Itoa(i), fmt.Sprintf("%d-%d", n, i)
		events = append(events, view(key, id))
		ids = append(ids, "view/"+key+"/"+id)
	}
	return "[" + strings.Join(events, ",") + "]", ids
}

func postedAll(url, body string, events int) bool {
	resp, err := http.Post(url+"/v1/events", "application/json", strings.NewReader(body))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	answer, err := bufio.NewReader(resp.Body).ReadString(']')
	if resp.StatusCode == http.StatusServiceUnavailable {
		return postedAll(url, body, events) // still starting
	}
	return err == nil && resp.StatusCode == http.StatusAccepted && answer == fmt.Sprintf(`{"accepted":%d,"rejected":[]`, events)
}

func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "QUIPU_TEST_INGEST_DIR="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "url ")
	if err != nil || !ok {
		_ = child.Process.Kill()
		_ = child.Wait()
		t.Fatalf("the child says %q, %v", line, err)
	}
	return child, url
}
