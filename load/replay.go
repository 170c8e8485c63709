package load

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

// ReplayConfig configures a Replay. Zero values give the defaults named here.
type ReplayConfig struct {
	Batch int    // events a request; 1,000
	Run   string // unique name of the run, at most 64 bytes: ids of events without one begin with it
	Tally bool   // keep account of what is acknowledged, for Verify
	// Before is called with the types and keys that the run comes upon, before any event of them is sent; nil if nobody wants to know.
	Before func(keys iter.Seq2[string, string]) error
}

// Replay is a Source of given events, in their order. Events without an id get one, those without a time the time at which they are
// read: a retry then repeats both.
type Replay struct {
	cfg   ReplayConfig
	tally *tally // nil without

	mu   sync.Mutex // guards what follows
	next func() (event.Event, error, bool)
	stop func()
	row  uint64
	done bool
	met  map[cellKey]struct{} // what Before was called with
}

// NewReplay returns a source of events. Close it after the run.
func NewReplay(cfg ReplayConfig, events iter.Seq2[event.Event, error]) (*Replay, error) {
	setDefault(&cfg.Batch, 1000)
	switch {
	case cfg.Batch < 1 || cfg.Batch > 10_000:
		return nil, fmt.Errorf("%w: batches of %d events, must be 1 to 10,000", ErrConfig, cfg.Batch)
	case cfg.Run == "" || len(cfg.Run) > 64:
		return nil, fmt.Errorf("%w: run %q must have 1 to 64 bytes", ErrConfig, cfg.Run)
	}
	r := &Replay{cfg: cfg, met: map[cellKey]struct{}{}}
	if cfg.Tally {
		r.tally = newTally()
	}
	r.next, r.stop = iter.Pull2(events)
	return r, nil
}

// Close ends the reading of events.
func (r *Replay) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop()
}

// Batch implements Source.
func (r *Replay) Batch() int { return r.cfg.Batch }

// Fill implements Source.
func (r *Replay) Fill(p *Parcel) error {
	p.events = p.events[:0]
	if err := r.read(p); err != nil {
		return err
	}
	for i := range p.events {
		p.Add(&p.events[i])
	}
	return nil
}

// maxParcelBytes keeps a parcel below what a cluster takes at once.
const maxParcelBytes = 4 << 20

func (r *Replay) read(p *Parcel) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	bytes := 0
	for !r.done && len(p.events) < r.cfg.Batch && bytes < maxParcelBytes {
		e, err, ok := r.next()
		if err != nil {
			r.done = true
			return err
		}
		if !ok {
			r.done = true
			break
		}
		r.row++
		if e.ID == "" {
			e.ID = r.cfg.Run + "-" + strconv.FormatUint(r.row, 36)
		}
		if e.TimeMs == 0 {
			e.TimeMs = time.Now().UnixMilli()
		}
		if e.Weight == 0 {
			e.Weight = 1
		}
		p.events = append(p.events, e)
		bytes += 100 + len(e.Type) + len(e.Key) + len(e.ID)
	}
	if len(p.events) == 0 {
		return io.EOF
	}
	return r.announceLocked(p.events)
}

// announceLocked tells Before of the keys that are new to the run. Under the lock, for nobody else may send them meanwhile.
func (r *Replay) announceLocked(events []event.Event) error {
	if r.cfg.Before == nil {
		return nil
	}
	var keys []cellKey
	for i := range events {
		k := cellKey{events[i].Type, events[i].Key}
		if _, met := r.met[k]; !met {
			r.met[k] = struct{}{}
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	err := r.cfg.Before(func(yield func(string, string) bool) {
		for _, k := range keys {
			if !yield(k.eventType, k.key) {
				return
			}
		}
	})
	if err != nil {
		r.done = true
	}
	return err
}

// Settle implements Source.
func (r *Replay) Settle(p *Parcel, report client.Report) {
	if r.tally != nil {
		r.tally.settle(p.events, report)
	}
}

// errNoTally is a mistake of the caller.
var errNoTally = errors.New("replay keeps no account: set ReplayConfig.Tally")

// Expected implements Ledger.
func (r *Replay) Expected() (iter.Seq[Expectation], error) {
	if r.tally == nil {
		return nil, errNoTally
	}
	return r.tally.expected()
}
