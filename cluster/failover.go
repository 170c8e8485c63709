package cluster

import (
	"slices"
	"time"
)

// Failover is what the cluster remembers of the changes of a shard's primary: the one under way, and the last ones.
type Failover struct {
	// Epoch grows with every process that takes the shard's failover in hand: one that did so earlier can change nothing any more.
	Epoch   uint64      `json:"epoch"`
	Owner   string      `json:"owner"` // who that was last
	Term    uint64      `json:"term"`  // of the shard, since the last promotion; 0: there was none
	Intent  *Intent     `json:"intent,omitempty"`
	History []Promotion `json:"history,omitempty"` // oldest first
}

// Intent is a change of the primary that was begun. Until it ends, the topology names no primary for the shard.
type Intent struct {
	From    string       `json:"from"` // the database that was the primary
	To      string       `json:"to"`   // the one that becomes it
	Term    uint64       `json:"term"` // of the shard from then on
	Planned bool         `json:"planned"`
	Reason  string       `json:"reason"`
	Begun   time.Time    `json:"begun"`
	Step    FailoverStep `json:"step"` // the last one that was done
	// Position is what To held when it stopped being a replica, in its server's words; set from StepStopped on.
	Position string `json:"position,omitempty"`
	// AcceptLoss lists what the operator agreed to lose, where the log does not reach back far enough.
	AcceptLoss []string `json:"accept_loss,omitempty"`
}

// FailoverStep is how far a change of the primary has come.
type FailoverStep string

// The steps, in their order.
const (
	StepIntended FailoverStep = "intended" // no primary in the topology
	StepFenced   FailoverStep = "fenced"   // the old one refuses writes, if it could be reached
	StepCaughtUp FailoverStep = "caught_up"
	StepStopped  FailoverStep = "stopped"  // the new one is nobody's replica; there is no way back from here
	StepPromoted FailoverStep = "promoted" // and accepts writes, under its new term
	StepSwitched FailoverStep = "switched" // the topology names it: done
)

// Reached tells whether a change has come as far as a step.
func (i *Intent) Reached(step FailoverStep) bool {
	order := []FailoverStep{StepIntended, StepFenced, StepCaughtUp, StepStopped, StepPromoted, StepSwitched}
	return slices.Index(order, i.Step) >= slices.Index(order, step)
}

// Promotion is a change of the primary that took place.
type Promotion struct {
	Term     uint64    `json:"term"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Position string    `json:"position"` // what To held at the end of the term before
	Planned  bool      `json:"planned"`
	Reason   string    `json:"reason"`
	Begun    time.Time `json:"begun"`
	Ended    time.Time `json:"ended"`
	Lost     []string  `json:"lost,omitempty"` // what the operator agreed to lose
}

// keptPromotions bounds History.
const keptPromotions = 20

// Remember ends the change that is under way.
func (f *Failover) Remember(p Promotion) {
	f.Intent, f.Term = nil, p.Term
	f.History = append(f.History, p)
	f.History = f.History[max(0, len(f.History)-keptPromotions):]
}

// EndOf returns what the shard's next primary held when a term ended, and whether that is known. Who holds more than that, and is of this term,
// has diverged.
func (f *Failover) EndOf(term uint64) (position string, known bool) {
	for i, p := range f.History {
		if p.Term > term {
			// With the oldest ones forgotten, an earlier promotion may have come between.
			return p.Position, i > 0 || len(f.History) < keptPromotions
		}
	}
	return "", false
}
