// Package load sends real and made-up events to a cluster, measures how that goes, and proves that every one was counted.
//
//	Generator (Zipf) ─┐                                                    ┌─► Progress, each second
//	Replay (files)  ──┼─ Fill ─► connection ─► client.Sender ─► /v1/events ┤
//	flights         ──┘      ◄── Settle: what became of each event         └─► Summary
//	       └─ Expected: sums of what was acknowledged ─► Verify ─► /v1/stats:batch, every key
//
// Guarantees: an event is sent again under the same id until its outcome is known, within a bound; what stays unknown is told, and never
// passed off as verified. A generated stream depends on its seed alone. Run ends soon after its context does, with all that is
// under way settled or told.
//
// Concurrency: a run uses one goroutine a connection; a Source's methods are called by all of them.
package load

import (
	"errors"
	"iter"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

// Errors of this package. Test with errors.Is.
var (
	ErrConfig     = errors.New("invalid configuration")
	ErrDifferent  = errors.New("counts differ from what was acknowledged")
	ErrUnsure     = errors.New("the outcome of some events is unknown")
	ErrNotReached = errors.New("counts did not catch up in time")
	ErrInput      = errors.New("invalid input") // the text names file and line
)

// Parcel is a batch on its way through a run. A connection uses one over and over.
type Parcel struct {
	client.Batch

	number uint64        // of a generated block
	drawn  []generated   // of it
	events []event.Event // of a replayed batch
}

// Source makes the batches of a run. Its methods are called by several goroutines at once.
type Source interface {
	// Fill puts the next events into p, which is empty, at most Batch of them. It returns io.EOF when there are no more.
	Fill(p *Parcel) error
	// Settle hears what became of a parcel that Fill had filled; p is as Fill left it.
	Settle(p *Parcel, report client.Report)
	// Batch is the usual number of events of a parcel.
	Batch() int
}

// Expectation is what was acknowledged of a key.
type Expectation struct {
	Type, Key string
	Count     int64
	Sum       event.Sum
	HasValues bool

	Unknown                  int64 // events that may have been accepted or not
	UnknownLeast, UnknownMax int64 // bounds of what they may add to Count
}

// Ledger is a Source that knows what was acknowledged.
type Ledger interface {
	Source
	// Expected returns every key of the run with what was acknowledged of it. It is called after the run.
	Expected() (iter.Seq[Expectation], error)
}
