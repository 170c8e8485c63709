// Package rawfile writes and reads the files in which raw events are kept in cold storage: Parquet, so that counts can be recomputed by
// another path than the one that made them.
//
// A file holds the batches of one partition of the event log from one offset up to another, under the name
//
//	raw/partition=0003/date=2026-11-22/<incarnation>-<first>-<next>.parquet
//
// which says all that there is to know: the date (UTC) is that of the first batch's append time, the incarnation that of the log, and the
// offsets first ≤ o < next are all in the file. Two files of the same name have the same rows. There is no manifest.
//
// Rows are in the order of the log:
//
//	column          Parquet type                       null       what
//	partition       INT32                              never
//	offset          INT64                              never      of the batch
//	index           INT32                              never      of the event in its batch
//	append_time     INT64, TIMESTAMP(ms), UTC          never      of the batch, on the log's clock
//	type            BYTE_ARRAY, STRING                 never
//	key             BYTE_ARRAY, STRING                 never
//	id              BYTE_ARRAY, STRING                 without id the producer's, or what an Idempotency-Key made of it
//	id_fingerprint  INT64, UINT_64                     without id what de-duplication goes by (event/FORMAT.md)
//	time            INT64, TIMESTAMP(ms), UTC          never      of the event
//	weight          INT64                              never
//	value           INT64                              without value
//
// An Idempotency-Key itself is not kept: the ids that it made are, and they decide. The duplicates that the log holds are in the
// file too. Times are TIMESTAMP without time zone, as engines call it; they are UTC. All pages are zstd. The metadata has quipu.version,
// quipu.cluster, quipu.partition, quipu.incarnation, quipu.first and quipu.next, and the seal that covers every byte: whatever was
// changed is ErrDamaged.
//
// A Writer belongs to one goroutine. Memory: a row group of 131,072 events while writing and while reading.
package rawfile
