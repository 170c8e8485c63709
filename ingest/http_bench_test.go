package ingest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire/httpserver"
)

// benchServer serves an ingest role with 16 partitions on a log on disk.
func benchServer(b *testing.B, delay time.Duration) (address string) {
	b.Helper()
	log := embedded.New(embedded.Config{Dir: b.TempDir(), Partitions: 16})
	if err := log.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	f, err := event.NewFingerprinter(testKey)
	if err != nil {
		b.Fatal(err)
	}
	i, err := ingest.New(ingest.Config{Log: log, Registry: anyLog{}, Types: testTypes, Fingerprinter: f, CommitDelay: delay})
	if err != nil {
		b.Fatal(err)
	}
	server, err := httpserver.New(httpserver.Config{Role: "ingest", Address: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	i.Register(server.Echo(), nil)
	if err := server.Listen(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = i.Run(ctx) })
	wg.Go(func() { _ = server.Run(ctx) })
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		_ = log.Close()
	})
	for i.Ready(ctx) != nil {
		time.Sleep(time.Millisecond)
	}
	return strings.TrimPrefix(server.URL(), "http://")
}

// post sends prepared requests over connections of its own until all are answered; each answer must contain want.
func post(b *testing.B, address string, connections int, requests *atomic.Int64, request func(dst []byte, n int64) []byte, want string) {
	b.Helper()
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			reader := bufio.NewReader(conn)
			var out []byte
			for {
				n := requests.Add(-1)
				if n < 0 {
					return
				}
				out = request(out[:0], n)
				if _, err := conn.Write(out); err != nil {
					b.Error(err)
					return
				}
				if err := readAnswer(reader, want); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func readAnswer(r *bufio.Reader, want string) error {
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if value, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if !strings.Contains(string(body), want) {
		return fmt.Errorf("answer %s", body)
	}
	return nil
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPost measures requests a second over HTTP, load generator included, on a log that is flushed before every answer.
func BenchmarkPost(b *testing.B) {
	for _, test := range []struct {
		connections, events int
		delay               time.Duration
	}{{8, 1000, 0}, {8, 1000, 5 * time.Millisecond}, {16, 1000, 5 * time.Millisecond}, {32, 1000, 10 * time.Millisecond}, {256, 1, 0}, {256, 1, 2 * time.Millisecond}, {256, 1, 5 * time.Millisecond}, {1, 1, 0}} {
		b.Run(fmt.Sprintf("connections=%d/events=%d/delay=%s", test.connections, test.events, test.delay), func(b *testing.B) {
			address := benchServer(b, test.delay)
			bodies := make([][]byte, 64)
			for i := range bodies {
				bodies[i] = benchBody(i, test.events)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			start, cpuBefore := time.Now(), cpu()
			b.ResetTimer()
			post(b, address, test.connections, &left, func(dst []byte, n int64) []byte {
				body := bodies[n%int64(len(bodies))]
				dst = fmt.Appendf(dst, "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
				return append(dst, body...)
			}, fmt.Sprintf(`{"accepted":%d,`, test.events))
			events := float64(b.N * test.events)
			b.ReportMetric(events/time.Since(start).Seconds(), "events/s")
			b.ReportMetric(float64((cpu()-cpuBefore).Nanoseconds())/events, "cpu-ns/event")
		})
	}
}

func benchBody(seed, events int) []byte {
	now := time.Now().UnixMilli()
	var out []byte
	out = append(out, '[')
	for i := range events {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `{"type":"view","key":"video-%d","id":"%08x%08x","time":%d}`, (i*7919+seed*104729)%100_000, seed, i, now)
	}
	return append(out, ']')
}
