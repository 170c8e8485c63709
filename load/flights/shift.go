package flights

import "time"

const week = 7 * 24 * time.Hour

// Shift returns the largest whole number of weeks by which last can be moved and still lie strictly before now: flights
// moved by it keep their weekday and hour, and none is in the future. It is negative when last is itself not before now. The two
// instants must lie less than 292 years apart.
//
// Given the last departure of the whole data set, the sample and the whole data set move by the same amount.
func Shift(last, now time.Time) time.Duration {
	gap := now.Sub(last) - 1 // of whole nanoseconds, so that "before" is strict
	weeks := gap / week
	if gap < 0 && gap%week != 0 {
		weeks--
	}
	return weeks * week
}
