package rawarchive_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/audit/recount"
	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/rawfile"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/eventlog/remote"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/rollup/rawarchive"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	partitions = 3
	patience   = 20 * time.Second
)

// midday is where log time begins in tests.
var midday = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// clock is log time, and the archiver's, as a test sets it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rig is an ingest role with its log, reached over HTTP, and cold storage.
type rig struct {
	t        *testing.T
	clock    *clock
	log      *embedded.Log
	remote   *remote.Log
	store    *blob.Store
	registry *prometheus.Registry // of the archiver
	lock     func(context.Context, string) (func(), error)
	asked    *atomic.Int64 // how often an archiver asked what the log holds

	appended map[int][]recount.Event
	ids      int
}

type anyLog struct{}

func (anyLog) EnsureLog(context.Context, string) error { return nil }

// counted says that every database has counted everything.
type counted struct{ incarnation func() string }

func (c counted) Checkpoints(context.Context) (wire.CheckpointsAnswer, error) {
	var answer wire.CheckpointsAnswer
	for p := range partitions {
		answer.Checkpoints = append(answer.Checkpoints, wire.Checkpoint{Partition: p, WindowFrom: 1 << 40, NextOffset: 1 << 40, Incarnation: c.incarnation()})
	}
	return answer, nil
}

func folderStore(t *testing.T) *blob.Store {
	t.Helper()
	return openStore(t, blob.Config{URL: filepath.Join(t.TempDir(), "cold")})
}

func s3Store(t *testing.T) *blob.Store {
	t.Helper()
	server := testkit.S3(t)
	access, secret := server.Credentials()
	return openStore(t, blob.Config{URL: server.URL(), AccessKey: access, SecretKey: secret})
}

func openStore(t *testing.T, cfg blob.Config) *blob.Store {
	t.Helper()
	store, err := blob.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// newRig starts ingest, which trims what is counted and archived at once if it may.
func newRig(t *testing.T, store *blob.Store, change func(*embedded.Config, *ingest.Config)) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{now: midday}, store: store, asked: new(atomic.Int64), appended: map[int][]recount.Event{}}
	var lock sync.Mutex
	r.lock = func(_ context.Context, name string) (func(), error) {
		lock.Lock()
		return lock.Unlock, nil
	}
	logConfig := embedded.Config{Dir: t.TempDir(), Partitions: partitions, SegmentBytes: 8 << 10, Now: r.clock.Now}
	ingestConfig := ingest.Config{
		Registry: anyLog{}, Types: func() map[string]event.Type { return nil }, Retention: -1, TrimInterval: 5 * time.Millisecond, Hold: true,
		Checkpoints: counted{func() string { return r.log.Incarnation() }},
	}
	if change != nil {
		change(&logConfig, &ingestConfig)
	}
	r.log = embedded.New(logConfig)
	must(t, r.log.Open(t.Context()))
	ingestConfig.Log = r.log
	role, err := ingest.New(ingestConfig)
	must(t, err)
	server, err := httpserver.New(httpserver.Config{Role: "ingest", Address: "127.0.0.1:0", Ready: role.Ready, Registry: prometheus.NewRegistry()})
	must(t, err)
	role.Register(server.Echo(), nil)
	must(t, server.Listen())
	client := wire.NewClient(wire.ClientConfig{})
	r.remote = remote.New(remote.Config{URLs: func() []string { return []string{server.URL()} }, Client: client})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = role.Run(ctx) })
	running.Go(func() { _ = server.Run(ctx) })
	t.Cleanup(func() {
		stop()
		client.Close()
		running.Wait()
		must(t, r.log.Close())
	})
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// append appends a batch of so many events to a partition: with and without ids, values, and weights.
func (r *rig) append(partition, events int) {
	r.t.Helper()
	var b event.BatchBuilder
	var sent []recount.Event
	for i := range events {
		r.ids++
		e := event.Event{Type: "view", Key: fmt.Sprint("key ", r.ids%7), TimeMs: r.clock.Now().UnixMilli() - int64(i), Weight: int64(1 + i%3)}
		if i%2 == 0 {
			e.ID = fmt.Sprint("id ", r.ids)
		}
		if i%5 != 0 {
			e.Value, e.HasValue = int64(i)-10, true
		}
		fingerprint := uint64(0)
		if e.ID != "" {
			fingerprint = uint64(r.ids)
		}
		b.Add(&e, cluster.KeyHash(e.Type, e.Key), fingerprint)
		sent = append(sent, recount.Event{Type: e.Type, Key: e.Key, ID: e.ID, TimeMs: e.TimeMs, Weight: e.Weight, Value: e.Value, HasValue: e.HasValue})
	}
	record := r.appendBytes(partition, b.AppendTo(nil))
	for i := range sent {
		sent[i].Offset, sent[i].AppendMs = record.Offset, record.AppendTime
	}
	r.appended[partition] = append(r.appended[partition], sent...)
}

func (r *rig) appendBytes(partition int, batch []byte) eventlog.Record {
	r.t.Helper()
	record, err := r.log.Append(r.t.Context(), partition, batch)
	must(r.t, err)
	return record
}

func (r *rig) config() rawarchive.Config {
	r.registry = prometheus.NewRegistry()
	return rawarchive.Config{
		Log: countingLog{r.remote, r.asked}, Store: r.store, Lock: r.lock, After: time.Hour, Interval: 5 * time.Millisecond, MaxEvents: 100, Registerer: r.registry, Now: r.clock.Now,
	}
}

// run runs an archiver until a condition holds.
func (r *rig) run(change func(*rawarchive.Config), until func() error) {
	r.t.Helper()
	stop := r.start(change)
	defer stop()
	testkit.Eventually(r.t, patience, until)
}

// start runs an archiver until stop is called.
func (r *rig) start(change func(*rawarchive.Config)) (stop func()) {
	r.t.Helper()
	cfg := r.config()
	if change != nil {
		change(&cfg)
	}
	a, err := rawarchive.New(cfg)
	must(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	}
}

// told is before which offset the log was told that a partition is archived.
func (r *rig) told(partition int) uint64 {
	hold, err := r.remote.Hold(r.t.Context())
	must(r.t, err)
	return hold.Partitions[partition].Archived
}

// archivedTo waits until the log was told that partitions are archived as far as they go.
func (r *rig) archivedTo(ends map[int]uint64) func() error {
	return func() error {
		for p, want := range ends {
			if got := r.told(p); got != want {
				return fmt.Errorf("partition %d is archived before %d, want %d", p, got, want)
			}
		}
		return nil
	}
}

func (r *rig) names(partition int) []rawfile.Name {
	r.t.Helper()
	names, err := recount.NewArchive(r.store).Names(r.t.Context(), partition)
	must(r.t, err)
	return rawfile.InOrder(names)
}

// archived reads every row of a partition, leaving out what an earlier object held.
func (r *rig) archived(partition int) (events []recount.Event) {
	r.t.Helper()
	archive, next := recount.NewArchive(r.store), uint64(0)
	for _, s := range r.names(partition) {
		must(r.t, archive.Events(r.t.Context(), s, func(e *recount.Event) error {
			if e.Offset < s.First || e.Offset >= s.Next || rawfile.DateOf(e.AppendMs) != s.Date {
				r.t.Errorf("%+v holds %+v", s, e)
			}
			if e.Offset >= next {
				events = append(events, *e)
			}
			return nil
		}))
		next = max(next, s.Next)
	}
	return events
}

func (r *rig) metric(name string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	must(r.t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	r.t.Errorf("there is no metric %s", name)
	return 0
}

// first is the first offset that the log keeps.
func (r *rig) first(partition int) uint64 {
	b, err := r.log.Bounds(r.t.Context(), partition)
	must(r.t, err)
	return b.First
}

// rounds waits for so many rounds of an archiver that is running.
func (r *rig) rounds(n int64) {
	r.t.Helper()
	from := r.asked.Load()
	testkit.Eventually(r.t, patience, func() error {
		if got := r.asked.Load(); got <= from+n {
			return fmt.Errorf("%d rounds", got-from)
		}
		return nil
	})
}

// countingLog counts the rounds: each begins with the same question.
type countingLog struct {
	*remote.Log
	asked *atomic.Int64
}

func (c countingLog) Hold(ctx context.Context) (*wire.LogHold, error) {
	c.asked.Add(1)
	return c.Log.Hold(ctx)
}

var errFault = errors.New("as told")

// faultyStore fails what a test tells it to.
type faultyStore struct {
	rawarchive.Store
	mu     sync.Mutex
	upload func(name string) error // after the upload has been done
	cutOff bool                    // uploads stop half way
}

func (f *faultyStore) Upload(ctx context.Context, name string, write func(io.Writer) error) (blob.Info, error) {
	f.mu.Lock()
	cutOff, after := f.cutOff, f.upload
	f.mu.Unlock()
	if cutOff {
		return f.Store.Upload(ctx, name, func(w io.Writer) error {
			if err := write(w); err != nil {
				return err
			}
			return errFault
		})
	}
	info, err := f.Store.Upload(ctx, name, write)
	if err == nil && after != nil {
		err = after(name)
	}
	return info, err
}

// deafLog loses what it is told as often as a test says.
type deafLog struct {
	*remote.Log
	mu   sync.Mutex
	lose int
}

func (d *deafLog) Archived(ctx context.Context, told wire.LogArchived) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if told.Before > 1 && d.lose > 0 {
		d.lose--
		return errFault
	}
	return d.Log.Archived(ctx, told)
}

// ends is the offset behind the last batch.
func (r *rig) ends(partition int) uint64 {
	b, err := r.log.Bounds(r.t.Context(), partition)
	must(r.t, err)
	return b.Next
}

// free is a lock that everybody holds.
func free(context.Context, string) (func(), error) { return func() {}, nil }

func write(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func dateOf(at time.Time) int64 { return rawfile.DateOf(at.UnixMilli()) }

func object(t *testing.T, name rawfile.Name) string {
	t.Helper()
	text, err := name.Object()
	must(t, err)
	return text
}
