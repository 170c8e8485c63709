package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/internal/wait"
	"golang.org/x/sync/errgroup"
)

// Log is an embedded event log. Make it with New, then Open it.
type Log struct {
	cfg        Config
	faults     faults
	lock       *os.File
	clock      *logClock
	id         identity
	budget     *budget
	partitions []*partition
	metrics    *metrics

	closing  sync.Once
	closeErr error
}

var (
	_ eventlog.Appender = (*Log)(nil)
	_ eventlog.Reader   = (*Log)(nil)
	_ eventlog.Trimmer  = (*Log)(nil)
)

// New returns a log that is not open yet.
func New(cfg Config) *Log {
	cfg = cfg.withDefaults()
	l := &Log{cfg: cfg, budget: &budget{limit: cfg.MaxBytes}}
	l.metrics = newMetrics(cfg.Registerer, func() float64 { return float64(l.budget.bytes()) }, cfg.MaxBytes)
	return l
}

// Open takes the directory for this process, verifies every record kept, and makes the log ready. It fails with ErrLocked, with
// ErrPartitions, or with a *eventlog.DamageError; then nothing is open, and no damaged byte was changed.
func (l *Log) Open(ctx context.Context) (err error) {
	if l.cfg.Partitions < 1 {
		return fmt.Errorf("log needs a partition, not %d", l.cfg.Partitions)
	}
	if err := os.MkdirAll(l.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	if err := syncDir(filepath.Dir(filepath.Clean(l.cfg.Dir))); err != nil {
		return fmt.Errorf("flush the directory above the log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.release())
		}
	}()
	if l.lock, err = lockDir(l.cfg.Dir); err != nil {
		return err
	}
	if l.id, err = loadIdentity(l.cfg.Dir, l.cfg.Partitions); err != nil {
		return err
	}
	if l.clock, err = openClock(l.cfg.Dir, l.cfg.Now); err != nil {
		return err
	}
	if err = l.openPartitions(ctx); err != nil {
		return err
	}
	if err = syncDir(l.cfg.Dir); err != nil { // the partitions' folders may be new
		return fmt.Errorf("flush log directory: %w", err)
	}
	if err = l.forgetClean(); err != nil {
		return err
	}
	return l.startClock(ctx)
}

func (l *Log) openPartitions(ctx context.Context) error {
	clean, err := l.loadClean()
	if err != nil {
		return err
	}
	f := newFramer(l.id.Incarnation)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	verifiers := make(chan *segmentVerifier, runtime.GOMAXPROCS(0))
	for range cap(verifiers) {
		verifiers <- newSegmentVerifier(f)
	}
	l.partitions = make([]*partition, l.cfg.Partitions)
	for i := range l.partitions {
		p := &partition{
			id: i, dir: partitionDir(l.cfg.Dir, i), segmentBytes: l.cfg.SegmentBytes, framer: f, clock: l.clock, budget: l.budget,
			fs: newSegmentFS(l.budget, l.faults, l.cfg.SegmentBytes), logger: l.cfg.Logger, metrics: l.metrics,
			cacheLimit: l.cfg.CacheBytes / int64(l.cfg.Partitions), appending: make(chan struct{}, 1), cleanNext: clean[i],
		}
		l.partitions[i] = p
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			v := <-verifiers
			defer func() { verifiers <- v }()
			last, err := p.open(v)
			if err != nil {
				return fmt.Errorf("open partition %d: %w", p.id, err)
			}
			l.clock.raise(last)
			return nil
		})
	}
	return group.Wait()
}

// loadClean reads where an orderly end left each partition; all zero after a crash.
func (l *Log) loadClean() ([]uint64, error) {
	var clean cleanEnd
	err := readJSON(filepath.Join(l.cfg.Dir, cleanFile), &clean)
	if errors.Is(err, os.ErrNotExist) {
		return make([]uint64, l.cfg.Partitions), nil
	}
	if err == nil && len(clean.Next) != l.cfg.Partitions {
		err = &eventlog.DamageError{File: filepath.Join(l.cfg.Dir, cleanFile), Offset: -1, Reason: fmt.Sprintf("lists %d partitions", len(clean.Next))}
	}
	return clean.Next, err
}

// forgetClean takes the note of an orderly end away before anything is appended.
func (l *Log) forgetClean() error {
	err := os.Remove(filepath.Join(l.cfg.Dir, cleanFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", cleanFile, err)
	}
	return syncDir(l.cfg.Dir)
}

// startClock makes sure that log time goes on from where it was. After a crash the present may lie up to a second below the time on
// disk: that is waited for, so that log time does not run ahead of the machine's.
func (l *Log) startClock(ctx context.Context) error {
	for {
		behind := time.Duration(l.clock.limit-l.cfg.Now().UnixMilli()) * time.Millisecond
		if behind <= 0 {
			break
		}
		if behind > clockMaxWait {
			l.cfg.Logger.Warn("the clock has stepped back: log time stands still until it has caught up", "behind", behind)
			break
		}
		if err := wait.For(ctx, behind); err != nil {
			return err
		}
	}
	l.clock.raise(l.clock.limit)
	_, err := l.clock.read()
	return err
}

// Close waits for appends in flight, ends every waiting read with ErrClosed, and leaves a note of where each partition ended.
func (l *Log) Close() error {
	l.closing.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	var errs []error
	clean := cleanEnd{Next: make([]uint64, len(l.partitions))}
	inDoubt := false
	for i, p := range l.partitions {
		errs = append(errs, p.close())
		clean.Next[i] = p.next
		inDoubt = inDoubt || p.failed != nil || p.reopen
	}
	if len(l.partitions) > 0 && !inDoubt {
		errs = append(errs, writeJSON(filepath.Join(l.cfg.Dir, cleanFile), clean))
	}
	return errors.Join(append(errs, l.release())...)
}

// release closes what Open opened.
func (l *Log) release() error {
	var errs []error
	for _, p := range l.partitions {
		errs = append(errs, p.close())
		p.fs.release()
	}
	if l.clock != nil {
		errs = append(errs, l.clock.close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// Partitions returns how many partitions the log has.
func (l *Log) Partitions() int { return l.cfg.Partitions }

// Incarnation returns the log's identity, once it is open.
func (l *Log) Incarnation() string { return l.id.Incarnation }

// Bytes returns what all segment files take, and their bound.
func (l *Log) Bytes() (used, limit int64) { return l.budget.bytes(), l.cfg.MaxBytes }

// Now returns the present in log time.
func (l *Log) Now() (int64, error) { return l.clock.read() }

func (l *Log) partition(i int) (*partition, error) {
	if i < 0 || i >= l.cfg.Partitions {
		return nil, fmt.Errorf("partition %d of %d: %w", i, l.cfg.Partitions, eventlog.ErrNoPartition)
	}
	if i >= len(l.partitions) {
		return nil, eventlog.ErrClosed
	}
	return l.partitions[i], nil
}

// Append makes a batch durable. The batch may be reused once it returns. ErrFull means that nothing was written; after any other
// error the batch may turn up in the log all the same. Once a flush has failed a partition takes no more appends until it is opened again.
func (l *Log) Append(ctx context.Context, partition int, batch []byte) (eventlog.Record, error) {
	p, err := l.partition(partition)
	if err != nil {
		return eventlog.Record{}, err
	}
	if len(batch) > eventlog.MaxBatchBytes {
		return eventlog.Record{}, fmt.Errorf("append %d bytes: %w", len(batch), eventlog.ErrTooLarge)
	}
	start := time.Now()
	r, err := p.append(ctx, batch)
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	if errors.Is(err, eventlog.ErrFull) {
		l.metrics.full.Inc()
	}
	l.metrics.appends.WithLabelValues(outcome).Observe(time.Since(start).Seconds())
	return r, err
}

// Read returns records; see eventlog.Reader.
func (l *Log) Read(ctx context.Context, partition int, from uint64, maxBytes int, wait time.Duration) (eventlog.Chunk, error) {
	p, err := l.partition(partition)
	if err != nil {
		return eventlog.Chunk{}, err
	}
	chunk, err := p.read(ctx, from, maxBytes, wait)
	chunk.Incarnation = l.id.Incarnation
	return chunk, err
}

// Seek finds an offset by append time; see eventlog.Reader.
func (l *Log) Seek(_ context.Context, partition int, appendTimeMs int64) (uint64, error) {
	p, err := l.partition(partition)
	if err != nil {
		return 0, err
	}
	return p.seek(appendTimeMs)
}

// Bounds describes a partition; see eventlog.Reader.
func (l *Log) Bounds(_ context.Context, partition int) (eventlog.Bounds, error) {
	p, err := l.partition(partition)
	if err != nil {
		return eventlog.Bounds{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return eventlog.Bounds{}, eventlog.ErrClosed
	}
	return eventlog.Bounds{Incarnation: l.id.Incarnation, First: p.first, Next: p.next, Bytes: p.fs.bytes()}, nil
}

// Trim drops whole segments below an offset, and everything when the offset is the next one; see eventlog.Trimmer.
func (l *Log) Trim(ctx context.Context, partition int, before uint64) error {
	p, err := l.partition(partition)
	if err != nil {
		return err
	}
	return p.trim(ctx, before)
}
