package load

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/load/flights"
)

// flightsPerParcel: each is two events.
const flightsPerParcel = 500

// markTimeout bounds the mark of a stint that was stopped.
const markTimeout = 5 * time.Second

// flightSource is the Source of a part of the flights. It begins a stint only when all before it is acknowledged, and marks it in the cluster
// before it sends the first of its rows.
type flightSource struct {
	ctx  context.Context // of the marks
	load *flightLoad
	part *flightPart

	mu      sync.Mutex // guards what follows
	settled sync.Cond  // parcels or failed changed
	next    func() (flights.Flight, error, bool)
	stop    func()
	row     flights.Flight // read ahead
	opened  bool           // row was read for the first time
	have    bool           // row is one
	current *stint         // of the last parcel; nil before the first
	parcels int            // under way
	failed  bool           // some event was lost
}

func newFlightSource(ctx context.Context, l *flightLoad, part *flightPart, rows iter.Seq2[flights.Flight, error]) *flightSource {
	s := &flightSource{ctx: ctx, load: l, part: part}
	s.settled.L = &s.mu
	s.next, s.stop = iter.Pull2(rows)
	return s
}

// close ends the reading of flights. When all that was sent is acknowledged, it is marked how far that got, so that a later load goes on
// right there.
func (s *flightSource) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	if s.failed || s.parcels > 0 || s.current == nil {
		return nil
	}
	reached := s.current.end
	if s.have {
		reached = min(reached, s.row.Row)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), markTimeout)
	defer cancel()
	_, err := mark(ctx, s.load.cfg.Marks, s.current.reachedMark(), markData{Row: reached})
	return err
}

// Batch implements Source.
func (s *flightSource) Batch() int { return 2 * flightsPerParcel }

// Fill implements Source.
func (s *flightSource) Fill(p *Parcel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.advanceLocked(); err != nil {
		return err
	}
	p.events = p.events[:0]
	for len(p.events) < 2*flightsPerParcel && s.have && s.part.of(s.row.Row) == s.current {
		both := flights.Events(s.row, s.load.shift)
		p.events = append(p.events, both[0], both[1])
		if err := s.readLocked(); err != nil {
			return err
		}
	}
	for i := range p.events {
		p.Add(&p.events[i])
	}
	s.parcels++
	return nil
}

// Settle implements Source.
func (s *flightSource) Settle(_ *Parcel, report client.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parcels--
	s.failed = s.failed || len(report.Losses) > 0
	s.settled.Broadcast()
}

// advanceLocked moves on to the next row that is to be sent, and begins its stint if it is the first one of it.
func (s *flightSource) advanceLocked() error {
	if !s.opened {
		s.opened = true
		if err := s.readLocked(); err != nil {
			return err
		}
	}
	for s.have && !s.failed {
		stint := s.part.of(s.row.Row)
		switch {
		case stint != nil && stint == s.current:
			return nil
		case stint == nil || stint.state == done || stint.state == leftOut:
			if err := s.readLocked(); err != nil {
				return err
			}
		case s.parcels == 0:
			return s.beginLocked(stint)
		default:
			s.settled.Wait() // another connection may begin the stint meanwhile: look again
		}
	}
	return io.EOF
}

func (s *flightSource) beginLocked(stint *stint) error {
	if s.ctx.Err() != nil {
		return io.EOF
	}
	if _, err := mark(s.ctx, s.load.cfg.Marks, stint.mark(), markData{BegunMs: s.load.cfg.Now().UnixMilli()}); err != nil {
		return fmt.Errorf("begin flights from row %d on: %w", stint.first, err)
	}
	s.current = stint
	stint.state = done // once its parcels are settled; if they fail, nothing relies on it
	return nil
}

func (s *flightSource) readLocked() (err error) {
	s.row, err, s.have = s.next()
	return err
}
