package keepalive_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/load/keepalive"
)

// BenchmarkPost compares this package with net/http, by CPU time of client and server together: the server is the same.
func BenchmarkPost(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, `{"accepted":1,"rejected":[]}`)
	}))
	defer server.Close()
	for _, size := range []struct {
		name  string
		bytes int
	}{{"single", 100}, {"thousand", 75_000}} {
		body := bytes.Repeat([]byte("x"), size.bytes)
		b.Run(size.name+"/keepalive", func(b *testing.B) {
			transport := keepalive.New("")
			defer transport.Close()
			measure(b, func() error {
				_, err := transport.Post(context.Background(), &client.Request{URL: server.URL, Body: body, Deadline: time.Now().Add(time.Minute)})
				return err
			})
		})
		b.Run(size.name+"/nethttp", func(b *testing.B) {
			measure(b, func() error {
				resp, err := http.Post(server.URL+"/v1/events", "application/json", bytes.NewReader(body))
				if err != nil {
					return err
				}
				io.Copy(io.Discard, resp.Body)
				return resp.Body.Close()
			})
		})
	}
}

func measure(b *testing.B, post func() error) {
	b.Helper()
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if err := post(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
