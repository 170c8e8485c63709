package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quipudb/quipu/eventlog/embedded"
)

// appendUntilKilled is the child process of TestKillNine: it appends to every partition and prints what is acknowledged.
func appendUntilKilled(dir string) {
	cfg := config(dir)
	cfg.SegmentBytes = 32 << 10
	l := embedded.New(cfg)
	ctx := context.Background()
	if err := l.Open(ctx); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	for p := range cfg.Partitions {
		go func() {
			for {
				b, err := l.Bounds(ctx, p)
				if err != nil {
					panic(err)
				}
				r, err := l.Append(ctx, p, content(int(b.Next), 900))
				if err != nil {
					panic(err)
				}
				fmt.Printf("ack %d %d\n", p, r.Offset)
			}
		}()
	}
	select {}
}

// TestKillNine proves INV-2 for the embedded log: what a process acknowledged before it was killed is there afterwards.
func TestKillNine(t *testing.T) {
	dir := t.TempDir()
	for round := range 4 {
		acknowledged := appendInChild(t, dir, 40+37*round)
		cfg := config(dir)
		cfg.SegmentBytes = 32 << 10
		l := open(t, cfg)
		for p, last := range acknowledged {
			if _, next := checkRecords(t, l, p, 900); next <= last {
				t.Errorf("round %d: partition %d ends before %d, acknowledged was %d", round, p, next, last)
			}
		}
		closeLog(t, l)
	}
}

func appendInChild(t *testing.T, dir string, acknowledgements int) map[int]uint64 {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "QUIPU_TEST_APPEND_DIR="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[int]uint64{}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var p int
		var offset uint64
		if _, err := fmt.Sscanf(lines.Text(), "ack %d %d", &p, &offset); err != nil {
			if !strings.HasPrefix(lines.Text(), "ack") {
				t.Fatalf("child: %s", lines.Text())
			}
			continue // cut off by the kill
		}
		acknowledged[p] = max(acknowledged[p], offset)
		if n == acknowledgements {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait()
	if len(acknowledged) == 0 {
		t.Fatal("the child acknowledged nothing")
	}
	return acknowledged
}
