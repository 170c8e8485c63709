package countfile

import (
	"errors"
	"fmt"

	"github.com/quipudb/quipu/blob/internal/sealed"
	"github.com/quipudb/quipu/event"
)

var (
	// ErrDamaged is returned for a file that is not what was written: changed, cut, out of order, or none of ours.
	ErrDamaged = sealed.ErrDamaged

	// ErrRow is returned by Write and Merge for a row that can't be stored.
	ErrRow = errors.New("row cannot be stored")
)

// Row is a count with the names that it belongs to.
type Row struct {
	Partition    int
	Title, Owner string // of the key; may be empty
	event.Row           // Minute is where the minute, hour or day starts
}

// Meta is what a file says of its rows.
type Meta struct {
	Resolution string // "minute", "hour", "day"
	Day        int64  // of all rows: its first minute since 1970
	Cluster    string
	Shard      string
}

// The resolutions.
const (
	Minute = "minute"
	Hour   = "hour"
	Day    = "day"
)

// minutesADay bounds the starts of a file's rows.
const minutesADay = 24 * 60

func (m Meta) check() error {
	if step(m.Resolution) == 0 {
		return fmt.Errorf("%w: resolution %q", ErrRow, m.Resolution)
	}
	if m.Day%minutesADay != 0 {
		return fmt.Errorf("%w: minute %d is not the start of a day", ErrRow, m.Day)
	}
	return nil
}

// step is how many minutes a row of a resolution covers; 0 for none that is known.
func step(resolution string) int64 {
	switch resolution {
	case Minute:
		return 1
	case Hour:
		return 60
	case Day:
		return minutesADay
	}
	return 0
}

// Part is what the rows of one partition add up to.
type Part struct {
	Partition  int
	Rows       int64
	EventCount event.Sum
	ValueCount event.Sum
	ValueSum   event.Sum
}

// Summary is what a file's rows add up to: what must not change when rows move.
type Summary struct {
	Rows  int64
	Parts []Part // by partition
}

// Add adds the parts of another summary.
func (s *Summary) Add(o Summary) {
	parts := partSums{}
	for _, part := range append(s.Parts, o.Parts...) {
		parts.of(part.Partition).add(part)
	}
	*s = parts.summary()
}
