// Package flights is the real data of quipu load flights: three million flights within the United States in the first
// half of 2001, from the npm package vega-datasets 3.2.1, as a committed sample of one week or as the whole data set.
//
// Sample and ReadParquet yield Flights in order of departure; Shift says how far to move them so that they end just
// before now on the same weekday and hour; Events maps a Flight to Quipu events; KeysCSV and WriteKeys name their
// keys; FetchAll gets the whole data set through npm.
//
// Guarantees: a Flight has the same Row, and its events the same ids, whether it comes from the sample or from the whole data set; the
// sample is part of the whole and ends with its last full day. Reading holds one page of each column in memory,
// whatever the size of the file.
//
// Concurrency: all functions may be called at once; a sequence is read by one goroutine.
package flights

import (
	"errors"
	"fmt"
	"time"
)

// What the data set holds. Its rows are numbered from 0 in order of departure.
const (
	Rows           = 3_000_000 // flights in the whole data set
	SampleFirstRow = 2_880_452 // row of the sample's first flight
	SampleRows     = 119_542   // flights in the sample, consecutive rows
)

// Span returns the first and the last departure of the whole data set.
func Span() (first, last time.Time) {
	return time.Date(2001, time.January, 1, 0, 1, 0, 0, time.UTC), time.Date(2001, time.July, 1, 0, 0, 0, 0, time.UTC)
}

// SampleSpan returns the first and the last departure of the sample: the seven days from Sunday, 24 June 2001.
func SampleSpan() (first, last time.Time) {
	return time.Date(2001, time.June, 24, 0, 0, 0, 0, time.UTC), time.Date(2001, time.June, 30, 23, 59, 0, 0, time.UTC)
}

// Flight is one flight that took off.
type Flight struct {
	Row                 int64     // position in the whole data set, from 0
	Time                time.Time // when it took off: the clock of the origin airport, read as UTC; whole minutes
	DelayMinutes        int       // how late it arrived; negative when early
	DistanceMiles       int       // from origin to destination
	Origin, Destination string    // IATA codes of the airports
}

// ErrFlight is wrapped by the errors about a row that is no valid flight; they name the row and the column.
var ErrFlight = errors.New("invalid flight")

const codeLetters = 3

// codes hands out one string for each airport code, so that three million flights don't hold six million strings. It stays
// small because it refuses what is no code.
type codes map[string]string

func (c codes) intern(column string, raw []byte) (string, error) {
	if code, ok := c[string(raw)]; ok {
		return code, nil
	}
	if !isCode(raw) {
		return "", fmt.Errorf("%w: %s %q is not an airport code of %d capitals or digits", ErrFlight, column, raw, codeLetters)
	}
	code := string(raw)
	c[code] = code
	return code, nil
}

func isCode(raw []byte) bool {
	for _, b := range raw {
		if (b < 'A' || b > 'Z') && (b < '0' || b > '9') {
			return false
		}
	}
	return len(raw) == codeLetters
}
