// Package eventlog is the port to the partitions: ordered, durable, replayable batches. Implementations live in its
// sub-packages: embedded (files of this machine) and remote (the embedded log of an ingest role, over HTTP).
//
// A log never interprets a batch. Offsets of a partition start at 1 and grow by one a batch; append times never decrease.
package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// MaxBatchBytes bounds one record.
const MaxBatchBytes = 16 << 20

// Record is one batch at its place in the log.
type Record struct {
	Offset     uint64
	AppendTime int64  // milliseconds since 1970 on the log's clock; never decreases within a partition
	Checksum   uint32 // CRC-32C of Data
	Data       []byte // owned by the reader once returned
}

// Chunk is what one read returned.
type Chunk struct {
	Records []Record
	Next    uint64 // the offset to read from next
	// AsOf says, in milliseconds on the log's clock, that every batch appended strictly before it has an offset below Next.
	// It is the clock itself when the read reached the end of the partition.
	AsOf        int64
	End         uint64 // the offset that the next append will get, at the time of the read
	Incarnation string
}

// Bounds describes a partition. Offsets First ≤ o < Next can be read.
type Bounds struct {
	Incarnation string // chosen at random when the log was created: notices a log that was made anew
	First, Next uint64
	Bytes       int64
}

// Appender makes batches durable.
type Appender interface {
	// Append returns when the batch is durable (INV-2). A failed Append may or may not have taken place.
	Append(ctx context.Context, partition int, batch []byte) (Record, error)
}

// Reader replays batches.
type Reader interface {
	// Read returns records from an offset on, at least one if there is one, and then no more than maxBytes of them. At the end of the
	// partition it waits for an append up to wait, and then returns no records with a fresh AsOf.
	Read(ctx context.Context, partition int, from uint64, maxBytes int, wait time.Duration) (Chunk, error)
	// Seek returns the offset of the first batch whose append time is at or after an instant, or the end.
	Seek(ctx context.Context, partition int, appendTimeMs int64) (uint64, error)
	Bounds(ctx context.Context, partition int) (Bounds, error)
}

// Trimmer frees space.
type Trimmer interface {
	// Trim may drop records with offsets below before. It never drops others.
	Trim(ctx context.Context, partition int, before uint64) error
}

// Errors of a log. Test with errors.Is.
var (
	ErrTrimmed     = errors.New("offset is below the first one kept")
	ErrBeyondEnd   = errors.New("offset is beyond the end of the partition")
	ErrFull        = errors.New("log is full")
	ErrNoPartition = errors.New("no such partition")
	ErrClosed      = errors.New("log is closed")
	ErrTooLarge    = errors.New("batch is too large")
)

// DamageError is data that can't be what was written. The log refuses to go on.
type DamageError struct {
	File   string
	Offset int64 // byte offset in the file, −1 if unknown
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("log damaged: %s at byte %d: %s", e.File, e.Offset, e.Reason)
}
