package scenario_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// sent is an event as it is sent.
type sent struct {
	Type   string `json:"type"`
	Key    string `json:"key"`
	ID     string `json:"id,omitempty"`
	Time   int64  `json:"time"`
	Value  *int64 `json:"value,omitempty"`
	Weight int64  `json:"weight,omitempty"`

	nameless string // stands for the id of an event without one, whose request has an Idempotency-Key
	refusal  string // the code with which it must be rejected; empty if it is good
}

func (e *sent) weight() int64 {
	if e.Weight == 0 {
		return 1
	}
	return e.Weight
}

func (e *sent) identity() string {
	if e.ID == "" {
		return "nameless " + e.nameless
	}
	return e.ID
}

// oddKeys hold what tends to be mangled on the way.
var oddKeys = []string{"ключ/одинъ", "a b&c=d?#%20", "trailing ", "Trailing", "trailing", `quote"back\slash`, "🎬"}

const (
	plainKeys   = 25
	maxBatch    = 40
	remembered  = 400 // events that may be sent again later
	lateMinutes = 12
)

// producer sends a known stream, one request after another, each until its outcome is known.
type producer struct {
	name   string
	url    string
	random *rand.Rand
	ledger *ledger
	client *http.Client

	events, requests int
	recent           []*sent
	late             []int64 // minutes long ago that events fall in
}

func newProducer(number int, url string, seed uint64, l *ledger) *producer {
	p := &producer{
		name: fmt.Sprintf("p%d", number), url: url, random: rand.New(rand.NewPCG(seed, uint64(number))), ledger: l,
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}},
	}
	now := time.Now().Unix() / 60
	for range lateMinutes {
		p.late = append(p.late, now-1-p.random.Int64N(6*24*60))
	}
	return p
}

// run sends until ctx ends, and then what is under way to its end.
func (p *producer) run(ctx context.Context) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	defer p.client.CloseIdleConnections()
	for {
		if err := p.send(p.batch()); err != nil {
			return fmt.Errorf("producer %s: %w", p.name, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// request is one POST.
type request struct {
	events         []*sent
	idempotencyKey string
}

// batch makes the next request. One in eight has events without ids and an Idempotency-Key.
func (p *producer) batch() request {
	r := request{}
	p.requests++
	if p.random.IntN(8) == 0 {
		r.idempotencyKey = fmt.Sprintf("%s-request-%d", p.name, p.requests)
	}
	for range 1 + p.random.IntN(maxBatch) {
		switch e := p.event(r.idempotencyKey, len(r.events)); {
		case len(p.recent) > 0 && p.random.IntN(20) == 0:
			r.events = append(r.events, p.recent[p.random.IntN(len(p.recent))])
		default:
			r.events = append(r.events, e)
		}
	}
	return r
}

func (p *producer) event(idempotencyKey string, index int) *sent {
	p.events++
	e := &sent{Type: "view", Key: p.key(), Time: p.time(), ID: fmt.Sprintf("%s-%d", p.name, p.events)}
	if p.random.IntN(5) > 0 {
		value := p.random.Int64N(10_000) - 100
		e.Value = &value
	}
	if p.random.IntN(3) == 0 {
		e.Type, e.Weight = "like", []int64{1, 1, 2, -1}[p.random.IntN(4)]
	} else if p.random.IntN(10) == 0 {
		e.Weight = 1 + p.random.Int64N(5)
	}
	if p.random.IntN(100) == 0 {
		p.spoil(e)
	}
	if idempotencyKey != "" && p.random.IntN(2) == 0 {
		e.ID, e.nameless = "", fmt.Sprintf("%s %d", idempotencyKey, index)
		return e
	}
	if len(p.recent) < remembered {
		p.recent = append(p.recent, e)
	} else {
		p.recent[p.random.IntN(remembered)] = e
	}
	return e
}

func (p *producer) key() string {
	if n := p.random.IntN(plainKeys + len(oddKeys)); n < len(oddKeys) {
		return oddKeys[n]
	}
	// Squared, so that a few keys get most of the events.
	f := p.random.Float64()
	return fmt.Sprintf("key-%02d", int(f*f*plainKeys))
}

// time is now, out of order, a little ahead, or days ago.
func (p *producer) time() int64 {
	now := time.Now().UnixMilli()
	switch p.random.IntN(10) {
	case 0, 1:
		return p.late[p.random.IntN(len(p.late))]*60_000 + p.random.Int64N(60_000)
	case 2:
		return now + p.random.Int64N(120_000)
	}
	return now - p.random.Int64N(90_000)
}

// spoil makes an event one that must be rejected while the others of its batch are accepted.
func (p *producer) spoil(e *sent) {
	switch p.random.IntN(3) {
	case 0:
		e.Time, e.refusal = time.Now().Add(-8*24*time.Hour).UnixMilli(), "too_old"
	case 1:
		e.Type, e.Weight, e.refusal = "view", -1, "negative_not_allowed"
	default:
		e.Type, e.Weight, e.refusal = "viewed", 0, "unknown_type"
	}
}

// giveUp is how long one request is tried: far less than the de-duplication window.
const giveUp = 2 * time.Minute

// send posts a request until every event of it was accepted or rejected for good. The body is the same each time.
func (p *producer) send(r request) error {
	body, err := json.Marshal(r.events)
	if err != nil {
		return err
	}
	p.ledger.post(r.events)
	deadline := time.Now().Add(giveUp)
	for {
		again, err := p.post(r, body)
		if err != nil {
			return err
		}
		if again == nil {
			p.ledger.acknowledge(r.events)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no outcome within %v: %w", giveUp, again)
		}
		p.ledger.retried()
		pause := time.NewTimer(time.Duration(20+p.random.IntN(80)) * time.Millisecond)
		<-pause.C
	}
}

// post sends once. again says why it is to be repeated; err is what must not happen.
func (p *producer) post(r request, body []byte) (again, err error) {
	req, err := http.NewRequest(http.MethodPost, p.url+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if r.idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", r.idempotencyKey)
	}
	answer, err := p.client.Do(req)
	if err != nil {
		return err, nil // its process may just have been killed: the outcome is unknown
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err, nil
	}
	switch {
	case answer.StatusCode == http.StatusAccepted:
		return p.check(r, text)
	case answer.StatusCode == http.StatusTooManyRequests, answer.StatusCode >= 500:
		return fmt.Errorf("status %d: %s", answer.StatusCode, text), nil
	}
	return nil, fmt.Errorf("status %d: %s", answer.StatusCode, text)
}

// check compares what was rejected with what had to be.
func (p *producer) check(r request, text []byte) (again, err error) {
	var answer struct {
		Accepted int `json:"accepted"`
		Rejected []struct {
			Index     int    `json:"index"`
			Code      string `json:"code"`
			Message   string `json:"message"`
			Retryable bool   `json:"retryable"`
		} `json:"rejected"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("answer %q: %w", text, err)
	}
	if answer.Accepted+len(answer.Rejected) != len(r.events) {
		return nil, fmt.Errorf("%d accepted and %d rejected of %d events", answer.Accepted, len(answer.Rejected), len(r.events))
	}
	refused := map[int]string{}
	for _, rejected := range answer.Rejected {
		if rejected.Retryable {
			again = fmt.Errorf("event %d: %s: %s", rejected.Index, rejected.Code, rejected.Message)
			continue
		}
		refused[rejected.Index] = rejected.Code
	}
	for i, e := range r.events {
		if refused[i] != e.refusal {
			return nil, fmt.Errorf("event %d of %q was rejected with %q, want %q", i, e.Type, refused[i], e.refusal)
		}
	}
	return again, nil
}
