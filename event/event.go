// Package event holds the domain of what is counted: events, event types, their limits, exact sums, and the
// batch format in which events travel through the log.
//
// It imports nothing else of this module, does no I/O, and its values are plain data: safe to share once built.
package event

import "math"

// Limits of a single event. They keep every sum exact: |Σ weight × value| of 10¹⁶ events at both bounds still fits DECIMAL(38,0).
const (
	MaxTypeBytes = 64             // length of an event type's name
	MaxKeyBytes  = 255            // length of a key, UTF-8
	MaxIDBytes   = 128            // length of an event id, UTF-8
	MaxValue     = 1<<53 - 1      // largest magnitude of a value: exact in every JSON reader
	MaxWeight    = 1_000_000      // largest magnitude of a weight
	MinTimeMs    = 0              // 1970-01-01T00:00:00Z
	MaxTimeMs    = 4102444800_000 // 2100-01-01T00:00:00Z, exclusive
)

// Event is one accepted occurrence. Its identity is (Type, Key, ID); without an ID it is not de-duplicated.
type Event struct {
	Type string // name of a registered event type
	Key  string // what is counted, 1–255 bytes UTF-8
	ID   string // producer's unique id, optional

	TimeMs int64 // event time, milliseconds since 1970 UTC
	Value  int64 // measured value in the type's unit; meaningful only when HasValue
	Weight int64 // how many occurrences it stands for; never 0, negative undoes

	HasValue bool
}

// MinuteOf returns the minute since 1970 UTC that an epoch-millisecond instant falls in.
func MinuteOf(timeMs int64) int64 {
	m := timeMs / 60_000
	if timeMs%60_000 < 0 {
		m--
	}
	return m
}

// MaxMinute is the last minute that an event may fall in.
const MaxMinute = int64(MaxTimeMs)/60_000 - 1

// NoMin and NoMax are what an aggregate without values holds as its minimum and maximum.
const (
	NoMin = int64(math.MaxInt64)
	NoMax = int64(math.MinInt64)
)
