package cold_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader/cold"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

const today = 29_907_360 // 2026-11-12, in minutes since 1970

// stored writes an object and returns it as a shard's manifest has it.
func stored(t testing.TB, url, resolution string, dayOf int64, rows ...countfile.Row) wire.ColdObject {
	t.Helper()
	store, err := blob.Open(t.Context(), blob.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	unique, err := countfile.NewUnique()
	if err != nil {
		t.Fatal(err)
	}
	name, err := countfile.ObjectName(resolution, dayOf, 0, "s1", unique)
	if err != nil {
		t.Fatal(err)
	}
	var parts countfile.Summary
	info, err := store.Upload(t.Context(), name, func(w io.Writer) (err error) {
		parts, err = countfile.Write(w, rows, countfile.Meta{Resolution: resolution, Day: dayOf, Cluster: "test", Shard: "s1"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out := wire.ColdObject{Object: name, Bytes: info.Bytes, SHA256: info.SHA256, Rows: parts.Rows, From: dayOf, To: dayOf + day}
	for _, p := range parts.Parts {
		out.Partitions = append(out.Partitions, p.Partition)
	}
	return out
}

// viewed is a row of so many views, each with the value 7.
func viewed(key string, partition int, start, weight int64) countfile.Row {
	a := event.NewAggregate()
	a.AddEvent(weight, 7, true)
	return countfile.Row{Partition: partition, Row: event.Row{Type: "view", Key: key, Minute: start, Aggregate: a}}
}

// newObjects returns a storage over a real store.
func newObjects(t testing.TB, cfg cold.ObjectsConfig, cacheBytes int64) (*cold.Storage, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	cfg.Registerer, cfg.Logger = registry, slog.New(slog.DiscardHandler)
	objects, err := cold.NewObjects(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := cold.New(cold.Config{Files: objects, CacheBytes: cacheBytes, Registerer: registry, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := objects.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, registry
}

// minutesOf has a row of each of n keys each minute of a day.
func minutesOf(n int) []countfile.Row {
	var rows []countfile.Row
	for k := range n {
		for m := range int64(day) {
			rows = append(rows, viewed(fmt.Sprintf("key-%05d", k), k%4, today+m, int64(k+1)))
		}
	}
	return rows
}

func eachStore(t *testing.T, run func(t *testing.T, url string)) {
	t.Run("folder", func(t *testing.T) { run(t, t.TempDir()) })
	t.Run("S3", func(t *testing.T) { run(t, startS3(t).URL()) })
}

// startS3 starts a server whose credentials programs find where they look for them.
func startS3(t *testing.T) *testkit.ObjectStore {
	t.Helper()
	server := testkit.S3(t)
	access, secret := server.Credentials()
	t.Setenv("AWS_ACCESS_KEY_ID", access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	return server
}

func TestObjectsAddUp(t *testing.T) {
	eachStore(t, func(t *testing.T, url string) {
		main := stored(t, url, "minute", today, minutesOf(100)...)
		late := stored(t, url, "minute", today, viewed("key-00042", 2, today+61, 1000), viewed("key-00042", 2, today+61, 2000))
		hours := stored(t, url, "hour", today+day, viewed("key-00042", 2, today+day+120, 50))
		s, registry := newObjects(t, cold.ObjectsConfig{URL: url, FooterBytes: 64 << 20}, 1<<20)
		parts := []wire.ColdPart{
			part("minute", today+30, today+day, []int{2, 3}, main, late),
			part("hour", today+day, today+2*day, []int{2, 3}, hours),
		}
		byHour := map[int64]int64{today: 43 * 30, today + day + 120: 50}
		for h := int64(60); h < day; h += 60 {
			byHour[today+h] = 43 * 60
		}
		byHour[today+60] += 3000
		for _, test := range []struct {
			unit int64
			want map[int64]int64
		}{
			{0, map[int64]int64{0: 43*(day-30) + 3050}},
			{day, map[int64]int64{today: 43*(day-30) + 3000, today + day: 50}},
			{60, byHour},
		} {
			a := collect(t, s, question(test.unit, []string{"key-00042", "nobody"}, parts...))
			if diff := cmp.Diff(test.want, counts(a, 0)); diff != "" || len(a.Failures) > 0 || len(a.Points[1]) > 0 {
				t.Errorf("points by %d differ (-want +got), failures %v, of nobody %v:\n%s", test.unit, a.Failures, a.Points[1], diff)
			}
		}
		a := collect(t, s, question(1, []string{"key-00042"}, parts[0]))
		if len(a.Points[0]) != day-30 || a.Points[0][today+61].Count != 3043 || a.Points[0][today+1439].Count != 43 {
			t.Errorf("got %d minutes, %v at 01:01, want %d and 3043", len(a.Points[0]), a.Points[0][today+61], day-30)
		}
		if sum, _ := a.Points[0][today+61].Sum.Int64(); sum != 7*3043 {
			t.Errorf("got the sum %d, want %d", sum, 7*3043)
		}
		if a.Reads[0].Cached != 2 || metric(t, registry, "quipu_reader_cold_footers_total") != 3 {
			t.Errorf("got reads %+v, want all from memory", a.Reads)
		}
	})
}

func TestObjectsThatAreLostOrDamaged(t *testing.T) {
	url := t.TempDir()
	good := stored(t, url, "minute", today, viewed("a", 1, today, 1))
	other := stored(t, url, "minute", today+day, viewed("a", 1, today+day, 1))
	path := func(o wire.ColdObject) string { return filepath.Join(url, filepath.FromSlash(o.Object)) }
	for name, test := range map[string]struct {
		spoil func(t *testing.T) wire.ColdObject
		want  error
	}{
		"lost": {func(*testing.T) wire.ColdObject {
			lost := good
			lost.Object = strings.Replace(good.Object, "s1-", "s2-", 1)
			return lost
		}, cold.ErrMissing},
		"a byte changed": {func(t *testing.T) wire.ColdObject {
			o := stored(t, url, "minute", today, viewed("a", 1, today, 2))
			data, err := os.ReadFile(path(o))
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/3] ^= 1
			if err := os.WriteFile(path(o), data, 0o600); err != nil {
				t.Fatal(err)
			}
			return o
		}, cold.ErrDamaged},
		"cut": {func(t *testing.T) wire.ColdObject {
			o := stored(t, url, "minute", today, viewed("a", 1, today, 2))
			if err := os.Truncate(path(o), o.Bytes-1); err != nil {
				t.Fatal(err)
			}
			return o
		}, cold.ErrDamaged},
		"of another day": {func(t *testing.T) wire.ColdObject {
			if err := os.WriteFile(path(good), must(os.ReadFile(path(other)))(t), 0o600); err != nil {
				t.Fatal(err)
			}
			wrong := good
			wrong.Bytes = other.Bytes
			return wrong
		}, cold.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newObjects(t, cold.ObjectsConfig{URL: url}, 1<<20)
			a := collect(t, s, question(0, []string{"a"}, part("minute", today, today+2*day, []int{1}, test.spoil(t), other)))
			if len(a.Failures) != 1 || !errors.Is(a.Failures[0].Err, test.want) {
				t.Errorf("got failures %v, want %v", a.Failures, test.want)
			}
			if got := counts(a, 0); got[0] != 1 {
				t.Errorf("got %v of the other object, want 1", got)
			}
		})
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A store that can't be opened is tried again with the next question.
func TestStoreThatComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not-yet")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := newObjects(t, cold.ObjectsConfig{URL: dir}, 1<<20)
	lost := object("resolution=minute/date=2026-11-12/group=0000/s1-x.parquet", 1)
	for range 2 {
		a := collect(t, s, question(0, []string{"a"}, part("minute", 0, day, []int{1}, lost)))
		if len(a.Failures) != 1 || !errors.Is(a.Failures[0].Err, cold.ErrUnavailable) {
			t.Fatalf("got failures %v, want ErrUnavailable", a.Failures)
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	o := stored(t, dir, "minute", today, viewed("a", 1, today, 5))
	if a := collect(t, s, question(0, []string{"a"}, part("minute", today, today+day, []int{1}, o))); counts(a, 0)[0] != 5 {
		t.Errorf("got %v, failures %v, want 5", counts(a, 0), a.Failures)
	}
}

// A server that is away is unavailable, never a loss of objects; what is in memory is told meanwhile, and all once it is back.
func TestServerThatIsAway(t *testing.T) {
	server := startS3(t)
	held := stored(t, server.URL(), "minute", today, viewed("a", 1, today, 5))
	other := stored(t, server.URL(), "minute", today+day, viewed("a", 1, today+day, 7))
	s, _ := newObjects(t, cold.ObjectsConfig{URL: server.URL(), Timeout: 2 * time.Second}, 1<<20)
	both := question(0, []string{"a"}, part("minute", today, today+2*day, []int{1}, held, other))
	collect(t, s, question(0, []string{"a"}, part("minute", today, today+day, []int{1}, held)))
	away := func(how string) {
		t.Helper()
		a := collect(t, s, both)
		if len(a.Failures) != 1 || a.Failures[0].Object != other.Object || !errors.Is(a.Failures[0].Err, cold.ErrUnavailable) || counts(a, 0)[0] != 5 {
			t.Errorf("%s: got %v and failures %v, want 5 and that the other object is unavailable", how, counts(a, 0), a.Failures)
		}
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	away("a server that hangs")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	away("no server")
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := collect(t, s, both); len(a.Failures) > 0 || counts(a, 0)[0] != 12 {
		t.Errorf("got %v and failures %v after it came back, want 12", counts(a, 0), a.Failures)
	}
}

// Of an object only those parts are read that may hold the key.
func TestLookupsReadLittle(t *testing.T) {
	url := t.TempDir()
	rows, random := minutesOf(300), rand.New(rand.NewPCG(1, 2))
	for i := range rows {
		rows[i].AddEvent(random.Int64N(1000)+1, random.Int64N(1e9), true)
	}
	o := stored(t, url, "minute", today, rows...)
	s, registry := newObjects(t, cold.ObjectsConfig{URL: url, FooterBytes: 64 << 20}, 0)
	collect(t, s, question(1, []string{"key-00042"}, part("minute", today, today+day, []int{2}, o)))
	first := metric(t, registry, "quipu_reader_cold_read_bytes_total")
	a := collect(t, s, question(1, []string{"key-00123"}, part("minute", today, today+day, []int{3}, o)))
	second := metric(t, registry, "quipu_reader_cold_read_bytes_total") - first
	if len(a.Points[0]) != day || second >= float64(o.Bytes)/4 {
		t.Errorf("got %d points for %v bytes of %d, want %d for fewer", len(a.Points[0]), second, o.Bytes, day)
	}
	t.Logf("object of %d bytes and %d rows: the first key took %v bytes, the second %v", o.Bytes, o.Rows, first, second)
}

func TestContextEndsLookups(t *testing.T) {
	url := t.TempDir()
	o := stored(t, url, "minute", today, viewed("a", 1, today, 5))
	s, _ := newObjects(t, cold.ObjectsConfig{URL: url}, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a, err := s.Collect(ctx, question(0, []string{"a"}, part("minute", today, today+day, []int{1}, o)))
	if err != nil || len(a.Failures) != 1 || !errors.Is(a.Failures[0].Err, context.Canceled) {
		t.Errorf("got %+v, %v, want a failure for the end of the context", a, err)
	}
}

// What was read stays on disk, over a restart; a second reader with the same folder does without.
func TestDiskCache(t *testing.T) {
	url := t.TempDir()
	o := stored(t, url, "minute", today, viewed("a", 1, today, 5))
	p := part("minute", today, today+day, []int{1}, o)
	cfg := cold.ObjectsConfig{URL: url, CacheDir: t.TempDir(), CacheBytes: 4 << 20}
	fetched := func(t *testing.T) float64 {
		s, registry := newObjects(t, cfg, 0)
		if a := collect(t, s, question(0, []string{"a"}, p)); counts(a, 0)[0] != 5 {
			t.Errorf("got %v, failures %v, want 5", counts(a, 0), a.Failures)
		}
		return metric(t, registry, "quipu_blob_read_bytes_total")
	}
	t.Run("first", func(t *testing.T) {
		if first, beside := fetched(t), fetched(t); first == 0 || beside == 0 {
			t.Errorf("got %v bytes for the first reader and %v for one beside it, want some for both", first, beside)
		}
	})
	t.Run("restarted", func(t *testing.T) {
		if again := fetched(t); again != 0 {
			t.Errorf("got %v bytes, want none", again)
		}
	})
}
