// Package client sends events to a Quipu cluster.
//
//	p, err := client.New(client.Config{URLs: []string{"http://127.0.0.1:8080"}})
//	…
//	err = p.Send(ctx, event.Event{Type: "view", Key: "v1"})
//	…
//	err = p.Close(ctx) // flushes
//
// A Producer gathers events into batches and sends them from the background:
//
//	Send → batch under way ──full, or linger passed──► sealed batches ──► workers ──► Sender.Deliver ──► Config.OnLoss
//	        └── memory bound ──┘                                            └── attempts: breaker, backoff, Retry-After
//
// Guarantees. An event that Send took is either acknowledged by the cluster or reported to Config.OnLoss, exactly one of the two. An
// event without an id gets one, and one without a time gets the time of Send: both stay the same through every attempt, so a retry
// within the cluster's de-duplication window (10 minutes) never counts twice; DeliveryTimeout must stay below it. The bytes of events that
// wait are bounded. No call waits for ever: Send gives up after MaxBlock, delivery after DeliveryTimeout, Close when its context ends.
// Events may reach the cluster in another order than they were sent.
//
// Concurrency: a Producer and a Sender are safe for concurrent use; a Batch belongs to one goroutine at a time.
package client

import (
	"errors"
	"time"

	"github.com/quipudb/quipu/event"
)

// Errors of this package. Test with errors.Is.
var (
	ErrFull    = errors.New("buffer is full")        // no room came free within MaxBlock
	ErrClosed  = errors.New("producer is closed")    // Send after Close
	ErrInvalid = errors.New("invalid event")         // the event could never be accepted; the text names the field
	ErrConfig  = errors.New("invalid configuration") // the text names the field
	ErrLost    = errors.New("events were lost")      // Close or Flush: some events were reported to OnLoss meanwhile
	ErrNotSent = errors.New("request was not sent")  // a Transport's failure before anything reached the server
)

// Codes that this package gives a Loss, beside those of the cluster.
const (
	CodeUnreachable = "unreachable"    // no answer within the delivery timeout
	CodeInterrupted = "interrupted"    // the context ended before the outcome was known
	CodeBadAnswer   = "invalid_answer" // the server's answer made no sense
	CodeStatus      = "status_"        // followed by the HTTP status of an answer that is no problem document
	maxLossMessage  = 300              // bytes of an answer that a Loss quotes
	dedupWindow     = 10 * time.Minute // the cluster's default: beyond it a retry may count twice
	defaultDelivery = 2 * time.Minute  // far below dedupWindow
	maxDelivery     = dedupWindow * 9 / 10
)

// Loss is an event that is not known to be counted.
type Loss struct {
	Index   int    // place in the batch
	Code    string // of the cluster ("too_old", "unknown_type" …) or of this package
	Message string
	// Uncertain: an earlier attempt may have been accepted though no answer said so.
	Uncertain bool
	Event     event.Event // set by a Producer only
}

// Report is what became of a batch.
type Report struct {
	Accepted int
	Losses   []Loss // ascending by index; nil when everything was accepted
	Attempts int
}
