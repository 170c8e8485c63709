package balance

import (
	"math/bits"
	"time"
)

// latency estimates the p95 of one kind of call over the recent past: a histogram of two generations, the elder of which is
// dropped when the younger has seen enough.
//
// A bucket is a quarter of a power of two of microseconds, so that the estimate is at most a fifth too long.
type latency struct {
	counts [2][latencyBuckets]uint32
	seen   [2]uint32 // of each generation
	young  int
	since  time.Time // when the young generation began
	p95    time.Duration
	due    int // observations until the next estimate
}

const (
	latencyBuckets  = 27 * 4 // up to more than a minute
	generationCalls = 1000
	generationTime  = 10 * time.Second
	fewCalls        = 50 // tell nothing
	estimateEvery   = 16
)

func (l *latency) observe(now time.Time, took time.Duration) {
	if n := l.seen[l.young]; n >= generationCalls || n >= fewCalls && now.Sub(l.since) > generationTime {
		l.young = 1 - l.young
		l.counts[l.young], l.seen[l.young], l.since = [latencyBuckets]uint32{}, 0, now
	}
	l.counts[l.young][latencyBucket(took)]++
	l.seen[l.young]++
	if l.due--; l.due <= 0 {
		l.due, l.p95 = estimateEvery, l.quantile(0.95)
	}
}

// quantile returns the upper bound of the bucket that it falls into, 0 while too few calls were seen.
func (l *latency) quantile(q float64) time.Duration {
	total := l.seen[0] + l.seen[1]
	if total < fewCalls {
		return 0
	}
	rest := float64(total) * (1 - q)
	for i := latencyBuckets - 1; i >= 0; i-- {
		if rest -= float64(l.counts[0][i] + l.counts[1][i]); rest < 0 {
			return latencyBound(i)
		}
	}
	return 0
}

func latencyBucket(took time.Duration) int {
	us := uint64(max(took.Microseconds(), 4))
	power := bits.Len64(us) - 1
	return min((power-2)*4+int(us>>(power-2))&3, latencyBuckets-1)
}

func latencyBound(bucket int) time.Duration {
	return time.Duration(uint64(5+bucket&3)<<(bucket>>2)) * time.Microsecond
}
