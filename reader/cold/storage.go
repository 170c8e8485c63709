package cold

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// What can be wrong with an object.
var (
	ErrMissing     = errors.New("object is not in cold storage")
	ErrDamaged     = errors.New("object is damaged")
	ErrUnavailable = errors.New("cold storage is not available")
)

// Files finds rows in objects: by key, ascending by start. Its errors wrap those above, or are Spend's or the context's.
type Files interface {
	Lookup(ctx context.Context, l *Lookup) (map[string][]Row, error)
}

// Lookup asks for all rows that one object has of some keys of a type.
type Lookup struct {
	Object wire.ColdObject
	Type   string
	Keys   []string
	// Spend is called before so many bytes of the object are read. Its error ends the lookup.
	Spend func(bytes int64) error
}

// Row is a row of one key in an object.
type Row struct {
	Partition int
	Start     int64 // minutes since 1970
	event.Aggregate
}

// Config is what a Storage needs.
type Config struct {
	Files      Files
	Parallel   int   // objects read at a time: 8
	CacheBytes int64 // of segments kept in memory; 0: none
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Storage is cold storage as questions see it.
type Storage struct {
	files   Files
	logger  *slog.Logger
	metrics *metrics
	slots   chan struct{}
	cache   *cache[segmentName, *segment]
	flights flights
}

// New returns a storage. It does no I/O.
func New(cfg Config) (*Storage, error) {
	if cfg.Files == nil || cfg.Registerer == nil || cfg.Logger == nil {
		return nil, errors.New("make cold storage: files, registerer and logger must be set")
	}
	if cfg.Parallel < 1 {
		cfg.Parallel = 8
	}
	m := newMetrics(cfg.Registerer)
	return &Storage{
		files: cfg.Files, logger: cfg.Logger, metrics: m, slots: make(chan struct{}, cfg.Parallel),
		cache: newCache(cfg.CacheBytes, sizeOf, m.cached, m.evicted), flights: flights{open: map[segmentName]*flight{}},
	}, nil
}

// lookup reads segments of an object, when there is room for one more read.
func (s *Storage) lookup(ctx context.Context, l *Lookup) (map[string][]Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.slots }()
	s.metrics.reading.Inc()
	defer s.metrics.reading.Dec()
	begin := time.Now()
	spend := l.Spend
	l.Spend = func(bytes int64) error {
		err := spend(bytes)
		if err == nil {
			s.metrics.bytes.Add(float64(bytes))
		}
		return err
	}
	rows, err := s.files.Lookup(ctx, l)
	s.metrics.seconds.Observe(time.Since(begin).Seconds())
	if err != nil {
		s.metrics.errors.WithLabelValues(kindOf(err)).Inc()
		s.logFailure(l, err)
	}
	return rows, err
}

func (s *Storage) logFailure(l *Lookup, err error) {
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrDamaged) {
		s.logger.Error("cold object can't be read", "object", l.Object.Object, "error", err)
		return
	}
	s.logger.Debug("cold read failed", "object", l.Object.Object, "error", err)
}

// kindOf names an error in metrics.
func kindOf(err error) string {
	switch {
	case errors.Is(err, ErrMissing):
		return "missing"
	case errors.Is(err, ErrDamaged):
		return "damaged"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	case errors.Is(err, ErrTooMuch):
		return "too_much"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "deadline"
	}
	return "internal"
}
