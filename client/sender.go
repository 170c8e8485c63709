package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/quipudb/quipu/internal/wait"
)

// SenderConfig configures a Sender. Zero values give the defaults named here.
type SenderConfig struct {
	URLs        []string    // base addresses of the cluster's ingest; at least one
	Token       string      // bearer token with the scope write; none. Used by the default Transport only
	Transport   Transport   // net/http
	Compression Compression // none

	RequestTimeout  time.Duration // of one attempt; 10 s
	DeliveryTimeout time.Duration // of all attempts together; 2 minutes, at most 9
	BackoffMin      time.Duration // before the first retry; 50 ms
	BackoffMax      time.Duration // 5 s
	BreakerFailures int           // consecutive failures of an address after which it is left alone; 5
	BreakerPause    time.Duration // for how long; 1 s
}

func (cfg *SenderConfig) complete() error {
	if len(cfg.URLs) == 0 {
		return fmt.Errorf("%w: URLs is empty", ErrConfig)
	}
	for _, raw := range cfg.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("%w: URLs: %q is not an http or https address", ErrConfig, raw)
		}
	}
	setDefault(&cfg.RequestTimeout, 10*time.Second)
	setDefault(&cfg.DeliveryTimeout, defaultDelivery)
	setDefault(&cfg.BackoffMin, 50*time.Millisecond)
	setDefault(&cfg.BackoffMax, 5*time.Second)
	setDefault(&cfg.BreakerFailures, 5)
	setDefault(&cfg.BreakerPause, time.Second)
	if cfg.DeliveryTimeout > maxDelivery {
		return fmt.Errorf("%w: DeliveryTimeout is %v, retries beyond %v may count twice", ErrConfig, cfg.DeliveryTimeout, maxDelivery)
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Sender delivers batches: it tries until every outcome is known or the time is up.
type Sender struct {
	cfg      SenderConfig
	compress *compressor
	breakers []*gobreaker.CircuitBreaker[Response] // by address
	next     atomic.Uint32                         // address of the next attempt
}

// NewSender returns a Sender. It does no I/O.
func NewSender(cfg SenderConfig) (*Sender, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	compress, err := newCompressor(cfg.Compression)
	if err != nil {
		return nil, err
	}
	if cfg.Transport == nil {
		cfg.Transport = newHTTPTransport(cfg.Token, 64)
	}
	s := &Sender{cfg: cfg, compress: compress}
	for range cfg.URLs {
		s.breakers = append(s.breakers, gobreaker.NewCircuitBreaker[Response](gobreaker.Settings{
			Timeout:     cfg.BreakerPause,
			ReadyToTrip: func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= cfg.BreakerFailures },
			IsExcluded:  func(err error) bool { return errors.Is(err, context.Canceled) },
		}))
	}
	return s, nil
}

// Deliver posts a batch until every event is accepted or refused for good, DeliveryTimeout has passed, or ctx has ended. What is
// not known to be accepted is in Report.Losses. The batch must have no more events and bytes than the cluster takes at once.
func (s *Sender) Deliver(ctx context.Context, b *Batch) Report {
	if b.Len() == 0 {
		return Report{}
	}
	d := &delivery{batch: b, deadline: time.Now().Add(s.cfg.DeliveryTimeout)}
	again := true
	for again && ctx.Err() == nil {
		d.report.Attempts++
		again = d.absorb(s.attempt(ctx, d))
		if again && !s.pause(ctx, d) {
			break
		}
	}
	if again {
		d.giveUp(ctx)
	}
	return d.finish()
}

// Available tells whether some address is not being left alone after failures.
func (s *Sender) Available() bool {
	for _, b := range s.breakers {
		if b.State() != gobreaker.StateOpen {
			return true
		}
	}
	return false
}

// Close drops idle connections of the default transport.
func (s *Sender) Close() {
	if t, ok := s.cfg.Transport.(*httpTransport); ok {
		t.close()
	}
}

// serverError makes the breaker count an answer as a failure.
type serverError struct{ response Response }

func (e *serverError) Error() string { return fmt.Sprintf("server answered %d", e.response.Status) }

// attempt posts what is pending to the first address that is not being left alone.
func (s *Sender) attempt(ctx context.Context, d *delivery) (Response, error) {
	body, encoding := d.body(s.compress)
	req := &Request{
		Body: body, Encoding: encoding, IdempotencyKey: d.batch.IdempotencyKey,
		Deadline: earlier(d.deadline, time.Now().Add(s.cfg.RequestTimeout)),
	}
	first := int(s.next.Add(1))
	var resp Response
	var err error
	for i := range s.cfg.URLs {
		at := (first + i) % len(s.cfg.URLs)
		req.URL = s.cfg.URLs[at]
		resp, err = s.breakers[at].Execute(func() (Response, error) {
			r, err := s.cfg.Transport.Post(ctx, req)
			if err == nil && r.Status >= 500 {
				err = &serverError{response: r}
			}
			return r, err
		})
		if !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests) {
			break
		}
		err = fmt.Errorf("%w: %s: %w", ErrNotSent, req.URL, err)
	}
	if failed, ok := errors.AsType[*serverError](err); ok {
		return failed.response, nil
	}
	return resp, err
}

// pause waits before a retry and returns false when there is no time for one.
func (s *Sender) pause(ctx context.Context, d *delivery) bool {
	rest := backoff(s.cfg.BackoffMin, s.cfg.BackoffMax, d.report.Attempts) + d.retryAfter
	if rest >= time.Until(d.deadline) {
		return false
	}
	return wait.For(ctx, rest) == nil
}

// backoff doubles with each attempt; the half of it is random so that clients that failed together don't return together.
func backoff(low, high time.Duration, attempt int) time.Duration {
	d := high
	if shift := attempt - 1; shift < 20 {
		d = min(high, low<<shift)
	}
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
