package client

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/quipudb/quipu/event"
)

// Config configures a Producer. Zero values give the defaults named here.
type Config struct {
	SenderConfig

	BatchEvents int           // events a request; 1,000, at most 10,000
	BatchBytes  int           // bytes of a request before compression; 1 MiB, at most 8 MiB
	Linger      time.Duration // how long an event waits for others to share its request; 20 ms
	InFlight    int           // requests at once; 4
	BufferBytes int64         // bytes of events that wait or are under way; 64 MiB
	MaxBlock    time.Duration // how long Send waits for room; 1 s

	// OnLoss hears of every event that is not known to be counted. It is called from the background, one call at a time, and
	// should return soon: delivery waits meanwhile.
	OnLoss func(Loss)
}

func (cfg *Config) complete() error {
	setDefault(&cfg.BatchEvents, 1000)
	setDefault(&cfg.BatchBytes, 1<<20)
	setDefault(&cfg.Linger, 20*time.Millisecond)
	setDefault(&cfg.InFlight, 4)
	setDefault(&cfg.BufferBytes, 64<<20)
	setDefault(&cfg.MaxBlock, time.Second)
	if cfg.OnLoss == nil {
		cfg.OnLoss = func(Loss) {}
	}
	switch {
	case cfg.BatchEvents < 1 || cfg.BatchEvents > 10_000:
		return fmt.Errorf("%w: BatchEvents is %d, must be 1 to 10,000", ErrConfig, cfg.BatchEvents)
	case cfg.BatchBytes < maxEventBytes || cfg.BatchBytes > 8<<20:
		return fmt.Errorf("%w: BatchBytes is %d, must be %d to %d", ErrConfig, cfg.BatchBytes, maxEventBytes, 8<<20)
	case cfg.BufferBytes < int64(cfg.BatchBytes):
		return fmt.Errorf("%w: BufferBytes is %d, less than BatchBytes", ErrConfig, cfg.BufferBytes)
	case cfg.InFlight < 1:
		return fmt.Errorf("%w: InFlight is %d", ErrConfig, cfg.InFlight)
	}
	return nil
}

// maxEventBytes is more than any valid event takes encoded, every byte of its texts escaped.
const maxEventBytes = 4096

// Producer sends events from the background.
type Producer struct {
	cfg    Config
	sender *Sender
	ids    idSource
	room   *semaphore.Weighted // bytes
	stats  counters

	abort   context.CancelFunc // ends deliveries
	workers sync.WaitGroup
	lossMu  sync.Mutex // one OnLoss at a time

	mu          sync.Mutex // guards what follows
	changed     sync.Cond  // sealed grew, or closed
	filling     *parcel    // nil when empty
	sealed      []*parcel
	outstanding map[*parcel]struct{} // sealed and not settled
	closed      bool
}

// parcel is a batch of a producer on its way.
type parcel struct {
	Batch
	weight int64 // bytes of the memory bound that it holds
	linger *time.Timer
	done   chan struct{} // closed when settled
	lost   int           // events, final once done
}

// New returns a producer, ready to use. It does no I/O. Its goroutines end with Close.
func New(cfg Config) (*Producer, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	sender, err := NewSender(cfg.SenderConfig)
	if err != nil {
		return nil, err
	}
	ctx, abort := context.WithCancel(context.Background())
	p := &Producer{
		cfg: cfg, sender: sender, ids: newIDSource(), room: semaphore.NewWeighted(cfg.BufferBytes), abort: abort,
		outstanding: map[*parcel]struct{}{},
	}
	p.changed.L = &p.mu
	for range cfg.InFlight {
		p.workers.Go(func() { p.work(ctx) })
	}
	return p, nil
}

// Send takes an event for delivery. It returns ErrInvalid for what could never be accepted, ErrFull when no room came free within
// MaxBlock (at once while every address fails), ErrClosed after Close, or ctx's error; then the event was not taken.
func (p *Producer) Send(ctx context.Context, e event.Event) error {
	if err := Check(&e); err != nil {
		return err
	}
	if e.ID == "" {
		e.ID = p.ids.next()
	}
	if e.TimeMs == 0 {
		e.TimeMs = time.Now().UnixMilli()
	}
	var stack [512]byte
	object := AppendEvent(stack[:0], &e)
	if err := p.acquire(ctx, int64(len(object)+1)); err != nil {
		return err
	}
	if !p.add(object) {
		p.room.Release(int64(len(object) + 1))
		return ErrClosed
	}
	p.stats.taken.Add(1)
	return nil
}

// acquire takes room for an event out of the memory bound.
func (p *Producer) acquire(ctx context.Context, bytes int64) error {
	if p.room.TryAcquire(bytes) {
		return nil
	}
	p.sealFilling()
	if !p.sender.Available() {
		p.stats.refused.Add(1)
		return fmt.Errorf("%w, and no address answers", ErrFull)
	}
	bounded, cancel := context.WithTimeout(ctx, p.cfg.MaxBlock)
	defer cancel()
	if p.room.Acquire(bounded, bytes) == nil {
		return nil
	}
	p.stats.refused.Add(1)
	if ctx.Err() != nil {
		return fmt.Errorf("wait for room: %w", context.Cause(ctx))
	}
	return fmt.Errorf("%w after %v", ErrFull, p.cfg.MaxBlock)
}

func (p *Producer) add(object []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.filling != nil && p.filling.Bytes()+len(object)+1 > p.cfg.BatchBytes {
		p.sealLocked()
	}
	if p.filling == nil {
		p.startLocked()
	}
	p.filling.AddJSON(object)
	p.filling.weight += int64(len(object) + 1)
	if p.filling.Len() >= p.cfg.BatchEvents {
		p.sealLocked()
	}
	return true
}

// Flush waits until every event that Send took before is settled, or ctx ends. It returns ErrLost if some of them were lost.
func (p *Producer) Flush(ctx context.Context) error {
	p.mu.Lock()
	p.sealLocked()
	waiting := make([]*parcel, 0, len(p.outstanding))
	for b := range p.outstanding {
		waiting = append(waiting, b)
	}
	p.mu.Unlock()
	lost := 0
	for _, b := range waiting {
		select {
		case <-b.done:
			lost += b.lost
		case <-ctx.Done():
			return fmt.Errorf("flush events: %w", context.Cause(ctx))
		}
	}
	if lost > 0 {
		return fmt.Errorf("flush events: %d %w", lost, ErrLost)
	}
	return nil
}

// Close refuses further events, flushes until ctx ends, reports the rest to OnLoss, and ends the producer's goroutines. It returns what
// Flush would. Closing twice is harmless.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.Flush(ctx)
	p.abort()
	p.mu.Lock()
	p.changed.Broadcast()
	p.mu.Unlock()
	p.workers.Wait()
	p.sender.Close()
	if err != nil && !errors.Is(err, ErrLost) {
		err = fmt.Errorf("close producer: %w", err)
	}
	return err
}

// Stats counts what a producer did so far.
type Stats struct {
	Taken, Accepted, Lost, Refused int64 // events; Refused: Send found no room
	Retries                        int64 // attempts beyond the first of a batch
}

type counters struct {
	taken, accepted, lost, refused, retries atomic.Int64
}

// Stats returns the counts.
func (p *Producer) Stats() Stats {
	c := &p.stats
	return Stats{
		Taken: c.taken.Load(), Accepted: c.accepted.Load(), Lost: c.lost.Load(), Refused: c.refused.Load(), Retries: c.retries.Load(),
	}
}

// idSource makes event ids that no other producer makes: 96 random bits and a number.
type idSource struct {
	prefix string
	last   *atomic.Uint64
}

func newIDSource() idSource {
	var random [12]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return idSource{prefix: base64.RawURLEncoding.EncodeToString(random[:]) + "-", last: new(atomic.Uint64)}
}

func (s idSource) next() string {
	var stack [40]byte
	return string(strconv.AppendUint(append(stack[:0], s.prefix...), s.last.Add(1), 36))
}
