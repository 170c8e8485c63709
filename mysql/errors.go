package mysql

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	driver "github.com/go-sql-driver/mysql"
)

// Errors of this package. Test with errors.Is; the first three also come as *CheckpointError, which holds what is stored.
var (
	ErrFenced         = errors.New("the epoch is not the partition's current one")
	ErrOffsetMoved    = errors.New("the stored checkpoint is not the expected one")
	ErrMisrouted      = errors.New("the shard does not own the partition")
	ErrTermChanged    = errors.New("the shard's term changed, key ids were dropped")
	ErrUnapplicable   = errors.New("the rows can never be applied")
	ErrUnavailable    = errors.New("the database can't do it now")
	ErrDeadline       = errors.New("the time ran out")
	ErrUnknownOutcome = errors.New("the outcome of the write is unknown")
	ErrSchema         = errors.New("the schema is not as expected")
	ErrTooManyPoints  = errors.New("the answer has too many points")
	ErrUnranked       = errors.New("the range can't be ranked")
	ErrTooManyCold    = errors.New("the answer needs too many objects of cold storage: ask for fewer keys, a shorter range or a coarser step")
	ErrForeign        = errors.New("the database belongs elsewhere")
)

// CheckpointError is an Apply or a Claim that the stored checkpoint refuses.
type CheckpointError struct {
	Reason error      // ErrFenced, ErrOffsetMoved or ErrMisrouted
	Stored Checkpoint // zero with ErrMisrouted
}

func (e *CheckpointError) Error() string {
	if e.Reason == ErrMisrouted {
		return fmt.Sprintf("partition %d: %v", e.Stored.Partition, e.Reason)
	}
	return fmt.Sprintf("partition %d: %v: epoch %d of %s, next offset %d", e.Stored.Partition, e.Reason, e.Stored.Epoch, e.Stored.Owner, e.Stored.NextOffset)
}

func (e *CheckpointError) Unwrap() error { return e.Reason }

// errRetry marks what rolled back and may succeed at once: a deadlock, a lock that was not had in time.
var errRetry = errors.New("rolled back, may be tried again")

// errNoTimePartition is a row beyond the last time partition.
var errNoTimePartition = errors.New("no time partition for the row")

// Error numbers of the servers.
const (
	numTableMissing    = 1146
	numColumnMissing   = 1054
	numSchemaMissing   = 1049
	numOutOfRange      = 1264
	numOverflow        = 1690
	numDataTooLong     = 1406
	numIncorrectString = 1366
	numNoTimePartition = 1526
	numLockWait        = 1205
	numLockTaken       = 3572 // MySQL, instead of numLockWait where nothing is waited for
	numDeadlock        = 1213
	numRecordChanged   = 1020
	numTableChanged    = 1412 // a time partition was made after the snapshot began
	numInterrupted     = 1317
	numSchemaDenied    = 1044
	numTableDenied     = 1142
	numColumnDenied    = 1143
	numRoutineDenied   = 1370
	numNoSuchThread    = 1094
	numNoSuchQuery     = 1957 // MariaDB
	numStatementTime   = 1969 // MariaDB
	numExecutionTime   = 3024 // MySQL
)

// meaning wraps what a driver or server says in one of this package's errors. A statement that it speaks of did not take place, or was
// rolled back, or was a read: writes that may have taken place are for the caller to wrap in ErrUnknownOutcome.
func meaning(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*driver.MySQLError](err); ok {
		return fmt.Errorf("%w: %w", serverMeaning(e.Number), err)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", ErrDeadline, err)
	case connectionLost(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

func serverMeaning(number uint16) error {
	switch number {
	case numTableMissing, numColumnMissing, numSchemaMissing:
		return ErrSchema
	case numOutOfRange, numOverflow, numDataTooLong, numIncorrectString:
		return ErrUnapplicable
	case numNoTimePartition:
		return errNoTimePartition
	case numLockWait, numLockTaken, numDeadlock, numRecordChanged, numTableChanged:
		return errRetry
	case numInterrupted, numStatementTime, numExecutionTime:
		return ErrDeadline
	}
	return ErrUnavailable // read-only, shutting down, too many connections, disk full, access denied …
}

func connectionLost(err error) bool {
	var network net.Error
	return errors.Is(err, sqldriver.ErrBadConn) || errors.Is(err, driver.ErrInvalidConn) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &network) || poolClosed(err)
}

// poolClosed tells whether a call came too late for its pool. database/sql has no exported error for it.
func poolClosed(err error) bool { return err.Error() == "sql: database is closed" }

// unknownUnlessRefused is meaning for a write that commits by itself: it is refused for certain only when the server said so,
// or when it can't have been sent.
func unknownUnlessRefused(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*driver.MySQLError](err); ok && e.Number != numInterrupted {
		return meaning(err)
	}
	if errors.Is(err, sqldriver.ErrBadConn) || notConnected(err) || poolClosed(err) {
		return meaning(err)
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

// notConnected tells whether a connection could not even be made.
func notConnected(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
