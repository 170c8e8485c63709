// Package mysql is everything that is SQL at run time: pools, the checkpoint's compare-and-set with the upserts of a flush,
// reads in one snapshot, key ids, time partitions, health. The schema itself is in package migrations.
//
// # Guarantees
//
//   - Apply is one transaction. It commits rows and checkpoint together or nothing (INV-4), and only for the epoch, offset and
//     term that it names. What it reports is true: an error that wraps ErrUnknownOutcome is the only one after which
//     the rows may have been committed.
//   - A read takes ownership, as-of, watermarks and rows from one snapshot of one database (INV-5, INV-8). A partition that the
//     shard does not own is ErrMisrouted, never a zero.
//   - Every statement has a deadline, in the server too where the server can; every pool, cache and retry is bounded (INV-9).
//   - Checkpoints are created by EnsureOwnership alone.
//
// # Dialects
//
// MariaDB 10.6+ and MySQL 8.0+. What differs between them is in dialect.go; no caller sees it. Text is compared by bytes and without
// padding, times are UTC, the session is strict: a value that does not fit is an error.
//
// # Concurrency
//
// DB and Primary are safe for concurrent use. One Apply of a partition at a time is useful; more are safe.
package mysql
