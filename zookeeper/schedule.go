package zookeeper

import "time"

// resync is how often a directory reads everything again without having been told to; a failed read is tried again after
// retryRead, then twice that, and so on up to resync.
const (
	resync    = 30 * time.Second
	retryRead = time.Second
)

// schedule holds the instants at which a directory reads without having been woken. Zero instants are none.
type schedule struct {
	retry    time.Time // a read failed
	settled  time.Time // members are no longer kept after a reconnect
	resync   time.Time
	failures int
}

// wait returns how long there is nothing to do.
func (s *schedule) wait(now time.Time) time.Duration {
	next := s.resync
	for _, t := range []time.Time{s.retry, s.settled} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return max(0, next.Sub(now))
}

// due tells whether everything has to be read again now.
func (s *schedule) due(now time.Time) bool {
	if !now.Before(s.retry) {
		s.retry = time.Time{}
	}
	all := !now.Before(s.resync)
	if !s.settled.IsZero() && !now.Before(s.settled) {
		s.settled, all = time.Time{}, true
	}
	if all {
		s.resync = now.Add(resync)
	}
	return all
}

func (s *schedule) succeeded() { s.retry, s.failures = time.Time{}, 0 }

func (s *schedule) failed(now time.Time) {
	s.retry = now.Add(min(retryRead<<min(s.failures, 10), resync))
	s.failures++
}

// keeping tells whether members that a read does not show are kept.
func (s *schedule) keeping(now time.Time) bool { return now.Before(s.settled) }
