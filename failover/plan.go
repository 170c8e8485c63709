package failover

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
)

// Plan says what would be done with a shard and why, or why it must not be.
type Plan struct {
	Shard      string      `json:"shard"`
	From       string      `json:"from"`
	To         string      `json:"to,omitempty"`
	Term       uint64      `json:"term,omitempty"`
	Planned    bool        `json:"planned"`
	Reason     string      `json:"reason,omitempty"`
	Words      []string    `json:"words"` // what proxies and replicas say of the primary
	Candidates []Candidate `json:"candidates"`
	// Replayed is how many batches the log has that the new primary has not counted: that much is counted again.
	Replayed uint64 `json:"replayed_batches"`
	// Lost names what neither the new primary nor the log holds.
	Lost     []string  `json:"lost,omitempty"`
	Refusals []Refusal `json:"refusals,omitempty"`
}

// Allowed tells whether the plan may be carried out.
func (p *Plan) Allowed() bool { return len(p.Refusals) == 0 }

// Refusal is a reason not to go on.
type Refusal struct {
	Code   RefusalCode `json:"code"`
	Detail string      `json:"detail"`
}

// RefusalCode names why a plan must not be carried out.
type RefusalCode string

// The codes.
const (
	RefusedNoPrimary   RefusalCode = "no_primary"    // there is none to be replaced
	RefusedUnderWay    RefusalCode = "under_way"     // one is being done
	RefusedAlive       RefusalCode = "alive"         // the primary answers
	RefusedNoAgreement RefusalCode = "no_agreement"  // proxies and replicas don't all say that it is down
	RefusedNoCandidate RefusalCode = "no_candidate"  // nobody can become the primary
	RefusedLog         RefusalCode = "log_too_short" // the log does not reach back to what the new primary lacks
	RefusedLogUnknown  RefusalCode = "log_unknown"   // nobody can tell whether it does
	RefusedPause       RefusalCode = "pause"         // the last one was just now
	RefusedFlapping    RefusalCode = "flapping"      // there were too many lately
	RefusedBusy        RefusalCode = "busy"          // other shards' primaries are being changed
	RefusedNotPlanned  RefusalCode = "not_drainable" // a planned change needs a primary that answers
)

// Candidate is a database of the shard in the light of becoming its primary.
type Candidate struct {
	Database string   `json:"database"`
	Zone     string   `json:"zone,omitempty"`
	Fit      bool     `json:"fit"`
	Reasons  []string `json:"reasons,omitempty"` // why not, or what follows
	Holds    uint64   `json:"transactions"`      // that it has, or has received and will execute
	Counted  uint64   `json:"counted_batches"`   // all partitions together
	Behind   uint64   `json:"batches_behind"`    // the log's end
}

func (p *Plan) refuse(code RefusalCode, format string, args ...any) {
	p.Refusals = append(p.Refusals, Refusal{code, fmt.Sprintf(format, args...)})
}

// Decide makes a plan of what is known. It asks nobody and changes nothing; the same facts make the same plan.
func Decide(f *Facts, rules Rules, r Request) *Plan {
	p := &Plan{Shard: f.Shard.ID, Planned: r.Planned, Reason: r.Reason, Words: f.words()}
	primary, ok := f.Shard.PrimaryDatabase()
	if !ok {
		if f.Record.Intent != nil {
			p.From, p.To = f.Record.Intent.From, f.Record.Intent.To
			p.refuse(RefusedUnderWay, "the primary is being changed from %s to %s since %s", p.From, p.To, f.Record.Intent.Begun.Format("15:04:05"))
		} else {
			p.refuse(RefusedNoPrimary, "the topology names no primary")
		}
		return p
	}
	p.From, p.Term = primary.ID, f.nextTerm()
	f.judgePrimary(p, primary, r)
	f.judgeRecent(p, rules, r)
	f.judgeCandidates(p, primary, rules, r)
	if p.To != "" {
		f.judgeLog(p, r)
	}
	return p
}

// words is what everybody says of the primary.
func (f *Facts) words() (words []string) {
	say := func(who string, word Word, reason string) {
		text := who + ": " + string(word)
		if reason != "" {
			text += " (" + reason + ")"
		}
		words = append(words, text)
	}
	for _, proxy := range f.Proxies {
		say("proxy "+proxy.Member, proxy.Word, proxy.Reason)
	}
	for _, d := range f.Shard.Databases {
		if d.Role == cluster.Replica && d.State == cluster.Attached {
			say("replica "+d.ID, f.Servers[d.ID].Word, f.Servers[d.ID].Reason)
		}
	}
	return words
}

// Agreement tells whether more than half of the shard's proxies say that the primary is down, and at least one replica, and no replica the
// contrary. Unknown is no agreement.
func (f *Facts) Agreement() (agreed bool, why string) {
	down := 0
	for _, proxy := range f.Proxies {
		if proxy.Word == WordDown {
			down++
		}
	}
	if down*2 <= len(f.Proxies) {
		return false, fmt.Sprintf("%d of %d proxies say that the primary is down", down, len(f.Proxies))
	}
	silent := 0
	for _, d := range f.Shard.Databases {
		if d.Role != cluster.Replica || d.State != cluster.Attached {
			continue
		}
		switch f.Servers[d.ID].Word {
		case WordAlive:
			return false, fmt.Sprintf("replica %s hears of the primary", d.ID)
		case WordDown:
			silent++
		}
	}
	if silent == 0 {
		return false, "no replica says that it does not hear of the primary"
	}
	return true, fmt.Sprintf("%d of %d proxies and %d replicas say that the primary is down", down, len(f.Proxies), silent)
}

// nextTerm is one that nobody has seen.
func (f *Facts) nextTerm() uint64 {
	term := f.Record.Term
	for _, s := range f.Servers {
		if s.Member != nil {
			term = max(term, s.Term)
		}
	}
	return term + 1
}

func (f *Facts) judgePrimary(p *Plan, primary cluster.Database, r Request) {
	answers := f.Servers[primary.ID].Member != nil
	switch {
	case r.Automatic:
		if agreed, why := f.Agreement(); !agreed {
			p.refuse(RefusedNoAgreement, "%s", why)
		}
	case r.Planned && !answers:
		p.refuse(RefusedNotPlanned, "%s does not answer: %s", primary.ID, f.Servers[primary.ID].Error)
	case !r.Planned && !r.Force && answers:
		p.refuse(RefusedAlive, "%s answers: a planned change drains it, so that nothing has to be counted again", primary.ID)
	}
}

func (f *Facts) judgeRecent(p *Plan, rules Rules, r Request) {
	if others := len(f.UnderWay); others >= rules.MaxAtOnce {
		p.refuse(RefusedBusy, "the primaries of %s are being changed, %d at a time is the bound", strings.Join(f.UnderWay, ", "), rules.MaxAtOnce)
	}
	if r.IgnorePause || r.Planned {
		return
	}
	recent := 0
	var last *cluster.Promotion
	for i := range f.Record.History {
		if done := &f.Record.History[i]; !done.Planned { // what an operator did on purpose is no flapping
			last = done
			if f.Now.Sub(done.Ended) < rules.Period {
				recent++
			}
		}
	}
	if last != nil && f.Now.Sub(last.Ended) < rules.Pause {
		p.refuse(RefusedPause, "the primary was changed %s ago, from %s to %s; %s must lie between",
			f.Now.Sub(last.Ended).Round(time.Second), last.From, last.To, rules.Pause)
	}
	if recent >= rules.MaxPerShard {
		p.refuse(RefusedFlapping, "the primary was changed %d times within %s: something else is wrong", recent, rules.Period)
	}
}

// judgeCandidates picks the most advanced of those that fit, of the primary's zone if there is one.
func (f *Facts) judgeCandidates(p *Plan, primary cluster.Database, rules Rules, r Request) {
	across := rules.AcrossZones || r.AcrossZones
	for _, d := range f.Shard.Databases {
		if d.ID == primary.ID {
			continue
		}
		c := f.candidate(d)
		if s := f.Servers[d.ID]; r.Planned && s.Member != nil && !(s.Link.Receiving && s.Link.Applying) {
			c.Fit = false
			c.Reasons = append(c.Reasons, "it does not follow: a planned change would wait for it in vain")
		}
		if d.Zone != primary.Zone && !across {
			c.Fit = false
			c.Reasons = append(c.Reasons, fmt.Sprintf("it is in zone %q, the primary in %q", d.Zone, primary.Zone))
		}
		p.Candidates = append(p.Candidates, c)
	}
	slices.SortStableFunc(p.Candidates, func(a, b Candidate) int {
		near := func(c Candidate) int {
			if c.Zone == primary.Zone {
				return 0
			}
			return 1
		}
		return cmp.Or(fitFirst(a, b), cmp.Compare(b.Holds, a.Holds), cmp.Compare(b.Counted, a.Counted), near(a)-near(b), cmp.Compare(a.Database, b.Database))
	})
	at := slices.IndexFunc(p.Candidates, func(c Candidate) bool { return c.Fit && (r.To == "" || c.Database == r.To) })
	switch {
	case at >= 0:
		p.To = p.Candidates[at].Database
	case r.To != "" && !slices.ContainsFunc(p.Candidates, func(c Candidate) bool { return c.Database == r.To }):
		p.refuse(RefusedNoCandidate, "%s is no other database of the shard", r.To)
	case r.To != "":
		i := slices.IndexFunc(p.Candidates, func(c Candidate) bool { return c.Database == r.To })
		p.refuse(RefusedNoCandidate, "%s can't become the primary: %s", r.To, strings.Join(p.Candidates[i].Reasons, "; "))
	default:
		p.refuse(RefusedNoCandidate, "none of the shard's replicas can become the primary")
	}
	f.noteAhead(p)
}

func fitFirst(a, b Candidate) int {
	switch {
	case a.Fit == b.Fit:
		return 0
	case a.Fit:
		return -1
	}
	return 1
}

// noteAhead says of databases that hold more than the one that is chosen what becomes of them.
func (f *Facts) noteAhead(p *Plan) {
	chosen := slices.IndexFunc(p.Candidates, func(c Candidate) bool { return c.Database == p.To })
	if chosen < 0 {
		return
	}
	for i := range p.Candidates {
		if c := &p.Candidates[i]; c.Holds > p.Candidates[chosen].Holds {
			c.Reasons = append(c.Reasons, "it holds more than "+p.To+" and will have to be rebuilt")
		}
	}
}

// candidate judges a database by itself.
func (f *Facts) candidate(d cluster.Database) Candidate {
	c := Candidate{Database: d.ID, Zone: d.Zone}
	not := func(format string, args ...any) { c.Reasons = append(c.Reasons, fmt.Sprintf(format, args...)) }
	if d.Unpromotable {
		not("the log is not kept for it (unpromotable)")
	}
	if d.State != cluster.Attached {
		not("it is %s", d.State)
	}
	s := f.Servers[d.ID]
	if s.Member == nil {
		not("it does not answer: %s", s.Error)
		return c
	}
	if s.ClusterID != f.ClusterID || s.ShardID != f.Shard.ID {
		not("it holds shard %s of cluster %s", s.ShardID, s.ClusterID)
	}
	if s.SchemaError != "" {
		not("%s", s.SchemaError)
	}
	if missing := f.missingPartitions(s); len(missing) > 0 {
		not("it has no checkpoint of the partitions %v", missing)
	}
	c.Fit = len(c.Reasons) == 0
	c.Holds = s.reaches()
	for _, stored := range s.Checkpoints {
		c.Counted += stored.NextOffset
		if f.Log != nil {
			if in, ok := f.Log.Partitions[stored.Partition]; ok && in.Next > stored.NextOffset {
				c.Behind += in.Next - stored.NextOffset
			}
		}
	}
	return c
}

func (f *Facts) missingPartitions(s *Server) (missing []int) {
	for _, partition := range f.Partitions {
		if !slices.ContainsFunc(s.Checkpoints, func(c mysql.Checkpoint) bool { return c.Partition == partition }) {
			missing = append(missing, partition)
		}
	}
	return missing
}

// reaches is how many transactions a server has or will have: what was received counts as long as it is being executed.
func (s *Server) reaches() uint64 {
	executed, err := mysql.Further(s.Held.Executed)
	if err != nil {
		return 0
	}
	received, err := mysql.Further(s.Link.Received)
	if err != nil || !s.Link.Applying {
		return executed
	}
	return max(executed, received)
}

// judgeLog refuses a primary whose lost tail the log can't bring back (INV-4).
func (f *Facts) judgeLog(p *Plan, r Request) {
	i := slices.IndexFunc(p.Candidates, func(c Candidate) bool { return c.Database == p.To })
	p.Replayed = p.Candidates[i].Behind
	if f.Log == nil {
		if !r.AcceptLoss {
			p.refuse(RefusedLogUnknown, "whether the log reaches back far enough can't be told: %s", f.LogError)
		}
		return
	}
	p.Lost = f.Log.lacks(f.Servers[p.To].Checkpoints, f.Partitions)
	if len(p.Lost) > 0 && !r.AcceptLoss {
		p.refuse(RefusedLog, "%s", strings.Join(p.Lost, "; "))
	}
}

// lacks lists what keeps the log from bringing a database of these checkpoints up to date: nothing if it reaches back far enough.
func (l *LogFacts) lacks(checkpoints []mysql.Checkpoint, partitions []int) (lost []string) {
	for _, c := range checkpoints {
		if !slices.Contains(partitions, c.Partition) {
			continue
		}
		in, ok := l.Partitions[c.Partition]
		needed := max(min(c.WindowFrom, c.NextOffset), 1)
		switch {
		case !ok:
			lost = append(lost, fmt.Sprintf("partition %d is not in the log", c.Partition))
		case c.Incarnation != "" && c.Incarnation != l.Incarnation:
			lost = append(lost, fmt.Sprintf("partition %d counts in the log %s, this is %s", c.Partition, c.Incarnation, l.Incarnation))
		case c.Incarnation == "" && in.First > 1:
			lost = append(lost, fmt.Sprintf("partition %d has counted nothing, and the log begins at offset %d", c.Partition, in.First))
		case in.First > c.NextOffset:
			lost = append(lost, fmt.Sprintf("partition %d is counted before offset %d and the log begins at %d: the %d batches between are lost",
				c.Partition, c.NextOffset, in.First, in.First-c.NextOffset))
		case c.NextOffset > in.Next:
			lost = append(lost, fmt.Sprintf("partition %d is counted before offset %d and the log ends at %d", c.Partition, c.NextOffset, in.Next))
		case in.First > needed:
			lost = append(lost, fmt.Sprintf("partition %d needs the log from offset %d on, which begins at %d: events may be counted twice whose ids came between",
				c.Partition, needed, in.First))
		}
	}
	return lost
}
