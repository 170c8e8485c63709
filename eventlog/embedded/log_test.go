package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/eventlog/eventlogtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("QUIPU_TEST_APPEND_DIR"); dir != "" {
		appendUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const smallSegment = 8 << 10

func config(dir string) embedded.Config {
	return embedded.Config{Dir: dir, Partitions: eventlogtest.Partitions, SegmentBytes: smallSegment}
}

func open(t *testing.T, cfg embedded.Config) *embedded.Log {
	t.Helper()
	l := embedded.New(cfg)
	if err := l.Open(t.Context()); err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { closeLog(t, l) })
	return l
}

func closeLog(t *testing.T, l *embedded.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func fill(t *testing.T, l *embedded.Log, partition, from, to, size int) {
	t.Helper()
	for i := from; i < to; i++ {
		if r, err := l.Append(t.Context(), partition, content(i, size)); err != nil || r.Offset != uint64(i) {
			t.Fatalf("append %d: got offset %d, %v", i, r.Offset, err)
		}
	}
}

func content(i, size int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%06d|", i), size/7+1)[:size]
}

// checkRecords reads everything and compares it with content.
func checkRecords(t *testing.T, l eventlog.Reader, partition int, size int) (first, next uint64) {
	t.Helper()
	b, err := l.Bounds(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	for from := b.First; from < b.Next; {
		c, err := l.Read(t.Context(), partition, from, 1<<16, 0)
		if err != nil {
			t.Fatalf("read from %d: %v", from, err)
		}
		for _, r := range c.Records {
			if r.Offset != from || !bytes.Equal(r.Data, content(int(r.Offset), size)) {
				t.Fatalf("record %d holds the wrong bytes", from)
			}
			from++
		}
	}
	return b.First, b.Next
}

func TestConformance(t *testing.T) {
	for name, cache := range map[string]int64{"from memory": 1 << 20, "from disk": 1} {
		t.Run(name, func(t *testing.T) {
			eventlogtest.Run(t, func(t *testing.T) eventlogtest.Log {
				cfg := config(t.TempDir())
				cfg.CacheBytes = cache
				l := open(t, cfg)
				return eventlogtest.Log{Appender: l, Reader: l, Trimmer: l}
			})
		})
	}
}

func TestReopening(t *testing.T) {
	dir := t.TempDir()
	var incarnation string
	next := 1
	for range 4 {
		l := open(t, config(dir))
		if incarnation == "" {
			incarnation = l.Incarnation()
		}
		if l.Incarnation() != incarnation {
			t.Fatalf("got incarnation %s, want %s", l.Incarnation(), incarnation)
		}
		if _, got := checkRecords(t, l, 0, 900); got != uint64(next) {
			t.Fatalf("got next offset %d, want %d", got, next)
		}
		fill(t, l, 0, next, next+23, 900)
		next += 23
		closeLog(t, l)
	}
}

func TestReopeningAfterTrimmingAll(t *testing.T) {
	dir := t.TempDir()
	l := open(t, config(dir))
	fill(t, l, 0, 1, 50, 900)
	if err := l.Trim(t.Context(), 0, 50); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	l = open(t, config(dir))
	if first, next := checkRecords(t, l, 0, 900); first != 50 || next != 50 {
		t.Errorf("got bounds %d to %d, want 50 to 50", first, next)
	}
	fill(t, l, 0, 50, 60, 900)
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, config(dir))
	if err := embedded.New(config(dir)).Open(t.Context()); !errors.Is(err, embedded.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

func TestNumberOfPartitionsIsFixed(t *testing.T) {
	dir := t.TempDir()
	closeLog(t, open(t, config(dir)))
	cfg := config(dir)
	cfg.Partitions++
	if err := embedded.New(cfg).Open(t.Context()); !errors.Is(err, embedded.ErrPartitions) {
		t.Errorf("got %v, want ErrPartitions", err)
	}
}

func TestClosedLog(t *testing.T) {
	l := open(t, config(t.TempDir()))
	done := make(chan error, 1)
	go func() {
		_, err := l.Read(t.Context(), 0, 1, 1, time.Minute)
		done <- err
	}()
	closeLog(t, l)
	if err := <-done; !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("waiting read: got %v, want ErrClosed", err)
	}
	if _, err := l.Append(t.Context(), 0, nil); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("append: got %v, want ErrClosed", err)
	}
}

func TestFullLogGoesOnAfterTrim(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.MaxBytes = 64 << 10
	l := open(t, cfg)
	next := 1
	for round := range 3 {
		for {
			r, err := l.Append(t.Context(), next%3, make([]byte, 500))
			if errors.Is(err, eventlog.ErrFull) {
				break
			}
			if err != nil {
				t.Fatalf("append %d: %v", next, err)
			}
			if r.Offset == 0 {
				t.Fatal("got offset 0")
			}
			next++
		}
		if used, limit := l.Bytes(); used > limit || used < limit/2 {
			t.Fatalf("round %d: %d bytes of %d when full", round, used, limit)
		}
		for p := range 3 {
			b, err := l.Bounds(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Trim(t.Context(), p, b.Next); err != nil {
				t.Fatalf("trim: %v", err)
			}
		}
	}
}

func TestAppendTimeNeverStepsBack(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	now := time.UnixMilli(1_700_000_000_000)
	cfg := config(dir)
	cfg.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	set := func(ms int64) { mu.Lock(); defer mu.Unlock(); now = time.UnixMilli(ms) }
	l := open(t, cfg)
	var last int64
	step := func(clock int64) {
		t.Helper()
		set(clock)
		c, err := l.Read(t.Context(), 0, 1, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Append(t.Context(), 1, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if c.AsOf < last || r.AppendTime < c.AsOf {
			t.Fatalf("clock at %d: got as-of %d and append time %d after %d", clock, c.AsOf, r.AppendTime, last)
		}
		last = r.AppendTime
	}
	step(1_700_000_000_000)
	step(1_700_000_500_000)
	step(1_700_000_100_000)
	step(1_700_000_500_001)
	for _, clock := range []int64{1_600_000_000_000, 1_700_000_600_000, 1_700_000_000_000} {
		closeLog(t, l)
		set(clock)
		l = open(t, cfg)
		step(clock)
	}
}

func TestManyPartitionsStaySmall(t *testing.T) {
	cfg := embedded.Config{Dir: t.TempDir(), Partitions: 256}
	l := open(t, cfg)
	for p := range 256 {
		if _, err := l.Append(t.Context(), p, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	var disk int64
	err := filepath.Walk(cfg.Dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			disk += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil || disk > 256*256<<10 {
		t.Errorf("256 nearly empty partitions take %d bytes of disk, %v", disk, err)
	}
}

func TestAppendsAndReadsTogether(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.CacheBytes = 3 * 4000
	l := open(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	const records = 400
	for p := range eventlogtest.Partitions {
		wg.Go(func() {
			for i := 1; i <= records; i++ {
				if _, err := l.Append(ctx, p, content(i, 700)); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
		for range 2 {
			wg.Go(func() {
				for from := uint64(1); from <= records; {
					c, err := l.Read(ctx, p, from, 3000, time.Second)
					if err != nil {
						t.Errorf("read: %v", err)
						return
					}
					for _, r := range c.Records {
						if r.Offset != from || !bytes.Equal(r.Data, content(int(from), 700)) {
							t.Errorf("record %d holds the wrong bytes", from)
							return
						}
						from++
					}
				}
			})
		}
	}
	wg.Wait()
}
