package reader

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/wire"
)

const (
	convoyLanes    = 2                    // calls under way beyond which questions gather in any case
	convoyFull     = 8                    // questions that are worth a call beside one that is under way
	convoyPatience = 3 * time.Millisecond // that a question gathers at most, before it is asked alone
	convoySample   = 16                   // while little is kept, one question of so many is asked together with others
)

// convoy sends questions of one key together while there are many: each hop then costs once for all of them. It asks for kept answers only, which come at once; whatever
// is not kept is asked alone, so that nobody waits for another's database. With no more than a few questions at a time each is asked alone, too, and at once.
//
// It starts no goroutines: of those who gather the first one makes the call.
type convoy struct {
	keeper   Keeper // nil: all are asked alone
	limit    time.Duration
	calls    prometheus.Counter
	answered prometheus.Counter
	alone    prometheus.Counter

	mu      sync.Mutex // guards all below
	busy    int        // lanes in use
	waiting []*passenger
	yield   float64 // share of questions that were kept, lately
	asked   uint
}

// passenger is a question that waits to be asked.
type passenger struct {
	question []byte
	turn     chan []*passenger // those to ask for, itself among them
	done     chan struct{}     // closed when answer is set
	answer   []byte            // nil: to be asked alone
}

func newConvoy(p Proxy, limit time.Duration, m *metrics) *convoy {
	keeper, _ := p.(Keeper)
	return &convoy{
		keeper: keeper, limit: limit, yield: 1,
		calls: m.convoys, answered: m.passengers.WithLabelValues("kept"), alone: m.passengers.WithLabelValues("alone"),
	}
}

// stats asks, together with others if that is quicker.
func (c *convoy) stats(ctx context.Context, p Proxy, r *wire.StatsRequest) (*wire.StatsAnswer, error) {
	if c.keeper == nil || len(r.Keys) != 1 || r.Explain || r.MinAsOf != 0 {
		return p.Stats(ctx, r)
	}
	if c.enter() {
		defer c.leave()
		return p.Stats(ctx, r)
	}
	if answer := c.ride(ctx, r); answer != nil {
		return answer, nil
	}
	return p.Stats(ctx, r)
}

// enter takes a lane, if one is free or the question is better asked without one.
func (c *convoy) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.busy == 0 || c.yield < 0.5 && c.asked%convoySample != 0 {
		c.busy++
		return true
	}
	return false
}

// leave frees the lane, for those who gathered if they are due.
func (c *convoy) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
	if c.dueLocked() {
		c.departLocked()
	}
}

// dueLocked tells whether those who gathered should be asked for now.
func (c *convoy) dueLocked() bool {
	n := len(c.waiting)
	return n > 0 && c.busy == 0 || n >= convoyFull && c.busy < convoyLanes
}

// departLocked gives a lane to those who gathered.
func (c *convoy) departLocked() {
	n := min(len(c.waiting), wire.MaxKept)
	together := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	c.busy++
	together[0].turn <- together
}

// ride waits for an answer, or for the turn to ask for all. It returns nil if the question must be asked alone.
func (c *convoy) ride(ctx context.Context, r *wire.StatsRequest) *wire.StatsAnswer {
	question, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	own := &passenger{question: question, turn: make(chan []*passenger, 1), done: make(chan struct{})}
	c.gather(own)
	timer := time.NewTimer(convoyPatience)
	defer timer.Stop()
	select {
	case together := <-own.turn:
		c.lead(ctx, together)
	case <-own.done:
	case <-timer.C:
		if !c.await(ctx, own) {
			return nil
		}
	case <-ctx.Done():
		if !c.await(ctx, own) {
			return nil
		}
	}
	answer := &wire.StatsAnswer{}
	if own.answer == nil || json.Unmarshal(own.answer, answer) != nil {
		c.alone.Inc()
		return nil
	}
	c.answered.Inc()
	return answer
}

// gather has a question wait for its turn, which comes at once if no call is under way by now, or if enough wait for one beside it.
func (c *convoy) gather(own *passenger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, own)
	if c.dueLocked() {
		c.departLocked()
	}
}

// await ends the gathering of a question that lost its patience. If it has been taken along already its answer is near, and whoever has the turn must ask for the
// others in any case.
func (c *convoy) await(ctx context.Context, own *passenger) (answered bool) {
	c.mu.Lock()
	at := slices.Index(c.waiting, own)
	if at >= 0 {
		c.waiting = slices.Delete(c.waiting, at, at+1)
	}
	c.mu.Unlock()
	if at >= 0 {
		return false
	}
	select {
	case together := <-own.turn:
		c.lead(ctx, together)
	case <-own.done:
	case <-ctx.Done():
		select {
		case together := <-own.turn:
			c.lead(ctx, together)
		default:
			return false
		}
	}
	return true
}

// lead asks for all, also if the question that leads is nobody's any more.
func (c *convoy) lead(ctx context.Context, together []*passenger) {
	defer c.leave()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.limit)
	defer cancel()
	questions := make([][]byte, len(together))
	for i, p := range together {
		questions[i] = p.question
	}
	answers, err := c.keeper.Kept(ctx, questions)
	kept := 0
	for i, p := range together {
		if err == nil && len(answers[i]) > 0 && !bytes.Equal(answers[i], null) {
			p.answer = answers[i]
			kept++
		}
		close(p.done)
	}
	c.calls.Inc()
	c.learn(float64(kept) / float64(len(together)))
}

var null = []byte("null")

// learn notes which share of a call's questions was kept.
func (c *convoy) learn(share float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.yield += (share - c.yield) / 8
}
