package cold

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/blob/diskcache"
)

// ObjectsConfig is what Objects need.
type ObjectsConfig struct {
	URL         string        // of the store: see blob.Config
	Timeout     time.Duration // of one request to it; blob's default if 0
	FooterBytes int64         // of footers kept in memory; 0: none
	CacheDir    string        // where blocks of objects are kept on disk; made if it is missing
	CacheBytes  int64         // of it; 0: nothing is kept there
	Registerer  prometheus.Registerer
	Logger      *slog.Logger // of the cache
}

// Objects reads count files from a store, through a cache on disk. Both are opened with the first lookup: as long as the store can't be
// opened it is ErrUnavailable, and it is tried again with each lookup. A cache that can't be opened is done without.
type Objects struct {
	cfg     ObjectsConfig
	footers *cache[string, *countfile.File]
	used    *prometheus.CounterVec

	mu    sync.Mutex // guards what follows
	store *blob.Store
	cache *diskcache.Cache // nil: none
}

// NewObjects returns Objects. It does no I/O.
func NewObjects(cfg ObjectsConfig) (*Objects, error) {
	if cfg.Registerer == nil || (cfg.Logger == nil && cfg.CacheBytes > 0) {
		return nil, errors.New("make cold objects: registerer, and with a cache logger, must be set")
	}
	if err := blob.CheckURL(cfg.URL); err != nil {
		return nil, fmt.Errorf("make cold objects: %w", err)
	}
	held := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "quipu_reader_cold_cached_footer_bytes",
		Help: "Memory that cached footers take, about.",
	})
	evicted := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "quipu_reader_cold_evicted_footers_total",
		Help: "Footers that left the memory to make room for others.",
	})
	used := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "quipu_reader_cold_footers_total",
		Help: "Footers of objects used, by where they came from: memory, object.",
	}, []string{"from"})
	cfg.Registerer.MustRegister(held, evicted, used)
	size := func(name string, f *countfile.File) int64 { return int64(len(name)) + f.MemoryBytes() }
	return &Objects{cfg: cfg, footers: newCache(cfg.FooterBytes, size, held, evicted), used: used}, nil
}

// Lookup implements Files.
func (o *Objects) Lookup(ctx context.Context, l *Lookup) (map[string][]Row, error) {
	bytes, err := o.reader(ctx, l.Object.Object, l.Object.Bytes)
	if err != nil {
		return nil, err
	}
	from := &meteredReader{bytes, l.Spend}
	file, err := o.footer(from, l)
	if err != nil {
		return nil, meaning(err)
	}
	day := file.Meta().Day
	out := map[string][]Row{}
	for row, err := range file.Lookup(ctx, from, countfile.Query{Type: l.Type, Keys: l.Keys, From: day, To: day + minutesOfDay}) {
		if err != nil {
			return nil, meaning(err)
		}
		out[row.Key] = append(out[row.Key], Row{Partition: row.Partition, Start: row.Minute, Aggregate: row.Aggregate})
	}
	return out, nil
}

const minutesOfDay = 24 * 60

// reader returns the bytes of an object, for as long as ctx.
func (o *Objects) reader(ctx context.Context, name string, size int64) (io.ReaderAt, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.openLocked(ctx); err != nil {
		return nil, err
	}
	if o.cache != nil {
		return o.cache.Reader(ctx, name, size), nil
	}
	return &objectReader{ctx: ctx, store: o.store, name: name, size: size}, nil
}

func (o *Objects) openLocked(ctx context.Context) error {
	if o.store != nil {
		return nil
	}
	store, err := blob.Open(context.WithoutCancel(ctx), blob.Config{URL: o.cfg.URL, Timeout: o.cfg.Timeout, Registerer: o.cfg.Registerer})
	if err != nil {
		return fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	o.store = store
	if o.cfg.CacheBytes == 0 {
		return nil
	}
	o.cache, err = diskcache.Open(diskcache.Config{
		Source: store, Dir: o.cfg.CacheDir, MaxBytes: o.cfg.CacheBytes, Logger: o.cfg.Logger, Registerer: o.cfg.Registerer,
	})
	if err != nil {
		o.cfg.Logger.Warn("there is no cache on disk of what is in cold storage", "path", o.cfg.CacheDir, "error", err)
	}
	return nil
}

// footer returns what an object says of itself.
func (o *Objects) footer(from io.ReaderAt, l *Lookup) (*countfile.File, error) {
	file, ok := o.footers.get(l.Object.Object)
	if ok {
		o.used.WithLabelValues(fromMemory).Inc()
	} else {
		var err error
		if file, err = countfile.Open(from, l.Object.Bytes); err != nil {
			return nil, err
		}
		o.footers.add(l.Object.Object, file)
		o.used.WithLabelValues(fromObject).Inc()
	}
	if day := file.Meta().Day; l.Object.From < l.Object.To && day != l.Object.From {
		return nil, fmt.Errorf("%w: its day begins at minute %d, want %d", countfile.ErrDamaged, day, l.Object.From)
	}
	return file, nil
}

// Close ends the use of store and cache. No Lookup may follow.
func (o *Objects) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	if o.cache != nil {
		errs = append(errs, o.cache.Close())
	}
	if o.store != nil {
		errs = append(errs, o.store.Close())
	}
	return errors.Join(errs...)
}

// meaning turns an error of the store or of a file into one of this package. Spend's and the context's stay what they are.
func meaning(err error) error {
	for _, known := range []struct{ is, means error }{
		{blob.ErrNotFound, ErrMissing}, {blob.ErrDamaged, ErrDamaged}, {countfile.ErrDamaged, ErrDamaged}, {blob.ErrUnavailable, ErrUnavailable},
	} {
		if errors.Is(err, known.is) {
			return fmt.Errorf("%w: %v", known.means, err)
		}
	}
	return err
}

// meteredReader reads at the cost of a lookup.
type meteredReader struct {
	from  io.ReaderAt
	spend func(int64) error
}

// ReadAt implements io.ReaderAt.
func (r *meteredReader) ReadAt(p []byte, offset int64) (int, error) {
	if err := r.spend(int64(len(p))); err != nil {
		return 0, err
	}
	return r.from.ReadAt(p, offset)
}

// objectReader reads an object without a cache.
type objectReader struct {
	ctx   context.Context // of the lookup
	store *blob.Store
	name  string
	size  int64
}

// ReadAt implements io.ReaderAt.
func (r *objectReader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset >= r.size {
		return 0, io.EOF
	}
	var end error
	if rest := r.size - offset; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	if err := r.store.ReadRange(r.ctx, r.name, p, offset); err != nil {
		return 0, err
	}
	return len(p), end
}
