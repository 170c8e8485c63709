package balance

import (
	"errors"
	"math"
	"time"
)

// EjectCause says in what a server was worse than the others.
type EjectCause string

// The causes.
const (
	EjectedFailures EjectCause = "failures_in_a_row"
	EjectedShare    EjectCause = "share_of_failures"
	EjectedLatency  EjectCause = "latency"
	Rejoined        EjectCause = ""
)

// When a server is an outlier. It is always compared with the others: when all are bad, nobody is an outlier.
const (
	ejectInRow      = 5                      // failures, while another server does not fail
	ejectMinCalls   = 10                     // of the server and of the others, recently
	ejectShare      = 0.3                    // of calls that fail, beyond the others' share
	ejectSlower     = 5                      // times as slow as the quickest other one
	ejectSlowerBy   = 100 * time.Millisecond // and by this much: calls of one kind are not alike
	maxEjectFactor  = 16                     // longest ejection, in first ones
	recordHalfLife  = 5 * time.Second        // what happened so long ago counts half
	examineInterval = 200 * time.Millisecond
)

// record is what a server's calls came to lately.
type record struct {
	calls, failed float64
	inRow         int // failures
	speeds        map[string]*speed
	since         time.Time // up to when calls were weighted by age
	examined      time.Time

	out       bool      // ejected
	until     time.Time // when its ejection ends, or ended
	ejections int       // that followed each other closely
}

// speed is how long calls of one kind take.
type speed struct {
	calls float64       // weighted by age
	seen  int           // up to speedCalls
	mean  time.Duration // moving, over so many calls
}

const speedCalls = 32

// observe notes a call. What says nothing of the server, because it was given up, still took so long.
func (r *record) observe(kind string, outcome error, took time.Duration, now time.Time) {
	r.age(now)
	unclear := errors.Is(outcome, errUnclear)
	switch {
	case outcome == nil:
		r.calls, r.inRow = r.calls+1, 0
	case !unclear:
		r.calls, r.failed, r.inRow = r.calls+1, r.failed+1, r.inRow+1
		return
	}
	s := r.speeds[kind]
	if s == nil {
		if r.speeds == nil {
			r.speeds = map[string]*speed{}
		}
		s = &speed{}
		r.speeds[kind] = s
	}
	if unclear && took < s.mean {
		return
	}
	s.calls++
	s.seen = min(s.seen+1, speedCalls)
	s.mean += (took - s.mean) / time.Duration(s.seen)
}

func (r *record) age(now time.Time) {
	passed := now.Sub(r.since)
	if passed < recordHalfLife/10 {
		return
	}
	r.since = now
	weight := math.Exp2(-float64(passed) / float64(recordHalfLife))
	r.calls *= weight
	r.failed *= weight
	for _, s := range r.speeds {
		s.calls *= weight
	}
}

// share returns the share of calls that failed, and whether there were enough of them.
func share(calls, failed float64) (float64, bool) {
	if calls < ejectMinCalls {
		return 0, false
	}
	return failed / calls, true
}

// examineLocked ejects outliers and lets those back in whose time is over.
func (s *servers) examineLocked(all []candidate, now time.Time) {
	for i := range all {
		r := &all[i].record
		if r.out && !now.Before(r.until) {
			s.rejoinLocked(all[i].server, now)
		}
		all[i].ejected = r.out
	}
	for i := range all {
		r := &all[i].record
		if len(all) < 2 || all[i].ejected || r.inRow < ejectInRow && now.Sub(r.examined) < examineInterval {
			continue
		}
		r.examined = now
		if cause := outlier(all, i); cause != Rejoined && mayEject(all) {
			s.ejectLocked(all[i].server, cause, now)
			all[i].ejected = true
		}
	}
}

// mayEject keeps at least half of the servers.
func mayEject(all []candidate) bool {
	ejected := 1
	for _, c := range all {
		if c.ejected {
			ejected++
		}
	}
	return ejected <= len(all)/2
}

func outlier(all []candidate, at int) EjectCause {
	own := &all[at].record
	var calls, failed float64
	othersFail := true
	for i, o := range all {
		if i == at || o.ejected {
			continue
		}
		calls, failed = calls+o.record.calls, failed+o.record.failed
		othersFail = othersFail && (o.record.inRow > 0 || o.record.calls == 0)
	}
	if own.inRow >= ejectInRow && !othersFail {
		return EjectedFailures
	}
	ownShare, enough := share(own.calls, own.failed)
	if othersShare, known := share(calls, failed); enough && known && ownShare > othersShare+ejectShare {
		return EjectedShare
	}
	for kind, speed := range own.speeds {
		if speed.calls < ejectMinCalls {
			continue
		}
		if best, known := quickest(all, at, kind); known && speed.mean > ejectSlower*best && speed.mean > best+ejectSlowerBy {
			return EjectedLatency
		}
	}
	return Rejoined
}

// quickest returns the best mean of the other servers.
func quickest(all []candidate, at int, kind string) (best time.Duration, known bool) {
	for i, o := range all {
		s := o.record.speeds[kind]
		if i == at || o.ejected || s == nil || s.calls < ejectMinCalls {
			continue
		}
		if !known || s.mean < best {
			best, known = s.mean, true
		}
	}
	return best, known
}

// ejectLocked leaves a server alone, longer each time; one that was back for as long as it had been away counts as new.
func (s *servers) ejectLocked(c *server, cause EjectCause, now time.Time) {
	r := &c.record
	if r.ejections > 0 && now.Sub(r.until) > s.ejectFor(r.ejections) {
		r.ejections = 0
	}
	r.ejections++
	r.out, r.until = true, now.Add(s.ejectFor(r.ejections))
	s.cfg.OnEject(c.url, cause)
}

func (s *servers) ejectFor(ejections int) time.Duration {
	return s.cfg.EjectFor * time.Duration(min(1<<min(ejections-1, 10), maxEjectFactor))
}

// rejoinLocked lets a server back in with a clean record, but for one thing: a failure at once ejects it again.
func (s *servers) rejoinLocked(c *server, now time.Time) {
	c.record = record{since: now, inRow: ejectInRow - 1, until: c.record.until, ejections: c.record.ejections}
	s.cfg.OnEject(c.url, Rejoined)
}
