package clusterproxy

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
)

// room bounds the requests in flight: all of them, questions so that writers find room beside them, and those of each caller so that one that
// runs away leaves room for the others.
type room struct {
	all, questions, each int
	metrics              *metrics
	inFlight             map[string]prometheus.Gauge // by class

	mu       sync.Mutex
	asking   int
	writing  int
	byCaller map[string]int // no more than there are requests in flight
}

// A quarter of the room is for writers alone: what they flush can't be counted elsewhere, and a question can be put again.
const writersShare = 4

func newRoom(all, callerPercent int, m *metrics) *room {
	r := &room{all: all, questions: max(1, all-all/writersShare), each: max(1, all*callerPercent/100), metrics: m, byCaller: map[string]int{}}
	r.inFlight = map[string]prometheus.Gauge{question: m.inFlight.WithLabelValues(question), write: m.inFlight.WithLabelValues(write)}
	m.limit.WithLabelValues("all").Set(float64(r.all))
	m.limit.WithLabelValues("questions").Set(float64(r.questions))
	m.limit.WithLabelValues("caller").Set(float64(r.each))
	return r
}

// The classes of requests.
const (
	question = "question"
	write    = "write"
)

// enter takes a place. Whoever entered calls leave.
func (r *room) enter(caller, class string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	bound, most := "", 0
	switch {
	case r.asking+r.writing >= r.all:
		bound, most = "all", r.all
	case class == question && r.asking >= r.questions:
		bound, most = "questions", r.questions
	case r.byCaller[caller] >= r.each:
		bound, most = "caller", r.each
	}
	if bound != "" {
		r.metrics.refused.WithLabelValues(bound, roleOf(caller)).Inc()
		return wire.NewProblem(wire.CodeOverloaded, "%d requests are in flight, the bound of %s", most, bound).WithRetryAfter(overloadedFor)
	}
	r.byCaller[caller]++
	r.countLocked(class, 1)
	return nil
}

func (r *room) leave(caller, class string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byCaller[caller]--; r.byCaller[caller] == 0 {
		delete(r.byCaller, caller)
	}
	r.countLocked(class, -1)
}

func (r *room) countLocked(class string, by int) {
	if class == question {
		r.asking += by
		r.inFlight[class].Set(float64(r.asking))
		return
	}
	r.writing += by
	r.inFlight[class].Set(float64(r.writing))
}

// roleOf is the part of a caller's name that may be a label: there are few roles.
func roleOf(caller string) string {
	role, _, _ := strings.Cut(caller, "/")
	for _, known := range cluster.Roles() {
		if role == string(known) {
			return role
		}
	}
	return "other"
}
