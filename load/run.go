package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/load/keepalive"
	"github.com/quipudb/quipu/load/latency"
)

// Config configures Run. Zero values give the defaults named here.
type Config struct {
	Sender      client.SenderConfig // URLs and bounds; its Transport is set by Run
	Connections int                 // 8
	Rate        float64             // events a second; 0: as fast as they are taken
	Duration    time.Duration       // after which no more is sent; 0: until the source ends
	Grace       time.Duration       // for what is under way when the context ends; 10 s
	Progress    func(Progress)      // called each second; none
}

// run is one Run.
type run struct {
	cfg    Config
	source Source
	pace   *pacer
	begin  time.Time

	latencies latency.Histogram
	counts    counts
	failed    atomic.Pointer[error]  // the source's
	trouble   atomic.Pointer[string] // why the last attempt has to be repeated; nil after one that has not

	mu      sync.Mutex // guards what follows
	reasons map[string]Reason
	lastAck time.Time
}

type counts struct {
	posted, accepted, lost, uncertain, requests, retries atomic.Int64
}

// Run sends a source's batches over several connections until the source ends, the duration is over, or ctx ends. Then what is under way
// is settled, within the grace. The error is the source's, or says that the configuration is invalid; lost events are no
// error but told in the summary.
func Run(ctx context.Context, cfg Config, source Source) (Summary, error) {
	if err := cfg.complete(); err != nil {
		return Summary{}, err
	}
	r := &run{cfg: cfg, source: source, reasons: map[string]Reason{}, begin: time.Now()}
	r.pace = newPacer(r.begin, cfg.Rate, source.Batch())
	issuing, stop := context.WithCancel(ctx)
	defer stop()
	if cfg.Duration > 0 {
		issuing, stop = context.WithTimeout(issuing, cfg.Duration)
		defer stop()
	}
	delivering, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(cfg.Grace, abort) })()

	var connections sync.WaitGroup
	for range cfg.Connections {
		sender, transport, err := r.connect()
		if err != nil {
			stop()
			connections.Wait()
			return Summary{}, err
		}
		connections.Go(func() {
			defer transport.Close()
			if err := r.work(issuing, delivering, sender); err != nil {
				r.failed.CompareAndSwap(nil, &err)
				stop()
			}
		})
	}
	r.report(&connections)
	if err := r.failed.Load(); err != nil {
		return r.summary(), *err
	}
	return r.summary(), nil
}

func (cfg *Config) complete() error {
	setDefault(&cfg.Connections, 8)
	setDefault(&cfg.Grace, 10*time.Second)
	if cfg.Progress == nil {
		cfg.Progress = func(Progress) {}
	}
	switch {
	case cfg.Connections < 1 || cfg.Connections > 10_000:
		return fmt.Errorf("%w: %d connections, must be 1 to 10,000", ErrConfig, cfg.Connections)
	case cfg.Rate < 0:
		return fmt.Errorf("%w: rate %v is negative", ErrConfig, cfg.Rate)
	case cfg.Duration < 0:
		return fmt.Errorf("%w: duration %v is negative", ErrConfig, cfg.Duration)
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// connect makes one connection. Each has a sender of its own, for the transport belongs to one goroutine.
func (r *run) connect() (*client.Sender, *keepalive.Transport, error) {
	transport := keepalive.New(r.cfg.Sender.Token)
	cfg := r.cfg.Sender
	cfg.Transport = &watched{transport: transport, trouble: &r.trouble}
	sender, err := client.NewSender(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return sender, transport, nil
}

// watched tells why a run does not get on.
type watched struct {
	transport client.Transport
	trouble   *atomic.Pointer[string]
}

// Post implements client.Transport.
func (w *watched) Post(ctx context.Context, req *client.Request) (client.Response, error) {
	resp, err := w.transport.Post(ctx, req)
	switch {
	case err != nil:
		text := err.Error()
		w.trouble.Store(&text)
	case resp.Status == http.StatusTooManyRequests || resp.Status >= 500:
		text := fmt.Sprintf("%s answers %d %s", req.URL, resp.Status, http.StatusText(resp.Status))
		w.trouble.Store(&text)
	case w.trouble.Load() != nil:
		w.trouble.Store(nil)
	}
	return resp, err
}

// work sends parcels, one after the other, until no more may be issued.
func (r *run) work(issuing, delivering context.Context, sender *client.Sender) error {
	p := &Parcel{}
	for {
		due, ok := r.pace.wait(issuing)
		if !ok {
			return nil
		}
		p.Reset()
		if err := r.source.Fill(p); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if r.cfg.Rate == 0 {
			due = time.Now() // it was due when it was there
		}
		report := sender.Deliver(delivering, &p.Batch)
		r.account(p, report, due)
		r.source.Settle(p, report)
	}
}

func (r *run) account(p *Parcel, report client.Report, due time.Time) {
	now := time.Now()
	r.latencies.Add(now.Sub(due))
	r.counts.posted.Add(int64(p.Len()))
	r.counts.accepted.Add(int64(report.Accepted))
	r.counts.requests.Add(int64(report.Attempts))
	r.counts.retries.Add(int64(max(0, report.Attempts-1)))
	r.mu.Lock()
	defer r.mu.Unlock()
	if report.Accepted > 0 && now.After(r.lastAck) {
		r.lastAck = now
	}
	for _, loss := range report.Losses {
		r.counts.lost.Add(1)
		if loss.Uncertain {
			r.counts.uncertain.Add(1)
		}
		r.tellReasonLocked(loss)
	}
}

// maxReasons bounds how many different codes of losses a summary lists.
const maxReasons = 20

func (r *run) tellReasonLocked(loss client.Loss) {
	code := loss.Code
	reason, known := r.reasons[code]
	switch {
	case known:
	case len(r.reasons) < maxReasons:
		reason.Example = loss.Message
	default:
		code = "others"
		reason = r.reasons[code]
	}
	reason.Events++
	r.reasons[code] = reason
}

// report tells progress each second until every connection is done.
func (r *run) report(connections *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		connections.Wait()
		close(done)
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := r.latencies.Snapshot()
	var previous Progress
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			now := r.latencies.Snapshot()
			previous = r.progress(previous, now.Since(last))
			last = now
			r.cfg.Progress(previous)
		}
	}
}
