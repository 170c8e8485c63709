package cold

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/countfile"
)

// ObjectsConfig is what Objects need.
type ObjectsConfig struct {
	URL         string        // of the store: see blob.Config
	Timeout     time.Duration // of one request to it; blob's default if 0
	FooterBytes int64         // of footers kept in memory; 0: none
	Registerer  prometheus.Registerer
}

// Objects reads count files from a store. The store is opened with the first lookup: until then, and as long as that fails, it is
// ErrUnavailable.
type Objects struct {
	cfg     ObjectsConfig
	footers *cache[string, *countfile.File]
	used    *prometheus.CounterVec

	mu    sync.Mutex // guards what follows
	store *blob.Store
}

// NewObjects returns Objects. It does no I/O.
func NewObjects(cfg ObjectsConfig) (*Objects, error) {
	if cfg.Registerer == nil {
		return nil, errors.New("make cold objects: registerer must be set")
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
	store, err := o.opened(ctx)
	if err != nil {
		return nil, err
	}
	from := &objectReader{ctx: ctx, store: store, name: l.Object.Object, size: l.Object.Bytes, spend: l.Spend}
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

// opened returns the store.
func (o *Objects) opened(ctx context.Context) (*blob.Store, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.store != nil {
		return o.store, nil
	}
	store, err := blob.Open(context.WithoutCancel(ctx), blob.Config{URL: o.cfg.URL, Timeout: o.cfg.Timeout, Registerer: o.cfg.Registerer})
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	o.store = store
	return store, nil
}

// footer returns what an object says of itself.
func (o *Objects) footer(from *objectReader, l *Lookup) (*countfile.File, error) {
	file, ok := o.footers.get(from.name)
	if ok {
		o.used.WithLabelValues(fromMemory).Inc()
	} else {
		var err error
		if file, err = countfile.Open(from, from.size); err != nil {
			return nil, err
		}
		o.footers.add(from.name, file)
		o.used.WithLabelValues(fromObject).Inc()
	}
	if day := file.Meta().Day; l.Object.From < l.Object.To && day != l.Object.From {
		return nil, fmt.Errorf("%w: its day begins at minute %d, want %d", countfile.ErrDamaged, day, l.Object.From)
	}
	return file, nil
}

// Close ends the use of the store. No Lookup may be under way.
func (o *Objects) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.store == nil {
		return nil
	}
	err := o.store.Close()
	o.store = nil
	return err
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

// objectReader reads an object for one lookup, at its cost.
type objectReader struct {
	ctx   context.Context // of the lookup
	store *blob.Store
	name  string
	size  int64
	spend func(int64) error
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
	if err := r.spend(int64(len(p))); err != nil {
		return 0, err
	}
	if err := r.store.ReadRange(r.ctx, r.name, p, offset); err != nil {
		return 0, err
	}
	return len(p), end
}
