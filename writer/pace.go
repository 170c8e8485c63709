package writer

import "time"

// A pace chooses how often a partition flushes. A flush of hot keys costs the same whether it carries a second of them or
// ten, so when flushing is what takes the time, the interval is lengthened until a flush takes no more than half of it; and a
// partition that lags behind the log, whose counts are late anyway, flushes no more often than it lags. As soon as that is over, so is the
// long interval. What all partitions together may ask of a shard is bounded by its slots.
//
// It also chooses how large a flush may get: what the shard took lately within a third of an attempt's time, because a flush
// that can't be done in that time will never be.
type pace struct {
	least, most time.Duration
	current     time.Duration
	latency     time.Duration // smoothed

	timeout  time.Duration // of an attempt
	mostRows int           // as set
	rows     int           // as chosen
	speed    float64       // rows a second, smoothed; 0: not known
}

const (
	flushShare = 2   // the interval is at least so many latencies
	eagerRows  = 256 // so few rows may be flushed after a quarter of the interval while the shards are quick
	eagerShare = 4
	quickShare = 20 // quick: a flush takes no more than this part of the interval

	leastRows   = 1000 // a flush may always get so large
	timeShare   = 3    // a flush shall take no more than this part of an attempt's time
	tellingRows = 500  // fewer say little about the speed
)

// newPace starts with flushes of so many rows, at most those of the settings.
func newPace(f Flush, rows int) pace {
	return pace{least: f.Interval, most: f.MaxInterval, current: f.Interval, timeout: f.Timeout, mostRows: f.MaxRows, rows: min(rows, f.MaxRows)}
}

// flushed notes how long a flush took, from its rows being frozen until they were committed, and how far the partition lags.
func (p *pace) flushed(took, lag time.Duration) {
	if p.latency == 0 {
		p.latency = took
	}
	p.latency += (took - p.latency) / 2
	want := min(max(p.least, flushShare*p.latency, lag), p.most)
	p.current = min(want, 2*p.current)
}

// applied notes how long the attempt took that committed so many rows.
func (p *pace) applied(rows int, took time.Duration) {
	if rows < tellingRows || took <= 0 {
		return
	}
	speed := float64(rows) / took.Seconds()
	if p.speed == 0 {
		p.speed = speed
	}
	p.speed += (speed - p.speed) / 3
	within := p.speed * p.timeout.Seconds() / timeShare
	p.rows = min(max(int(within), leastRows), p.mostRows)
}

// dueAfter returns how long after the start of the previous flush the next one is due.
func (p *pace) dueAfter(rows int) time.Duration {
	if rows > 0 && rows <= eagerRows && p.latency <= p.least/quickShare {
		return p.current / eagerShare
	}
	return p.current
}
