// Package countfile writes and reads the files in which counts are kept in cold storage: Parquet, so that other engines can query
// them too (docs/querying-cold-storage.md).
//
// A file holds rows of one resolution, of one UTC day, of partitions of one group and shard, under the name
//
//	resolution=minute/date=2026-11-22/group=0000/<shard>-<unique>.parquet
//
// in the order of (type, key, start, partition):
//
//	column       Parquet type                                null      encoding
//	partition    INT32                                       never     dictionary
//	type         BYTE_ARRAY, STRING                          never     dictionary
//	key          BYTE_ARRAY, STRING                          never     dictionary; delta byte array if keys have few rows each
//	title        BYTE_ARRAY, STRING                          if empty  like key
//	owner        BYTE_ARRAY, STRING                          if empty  dictionary
//	start        INT64, TIMESTAMP(µs), UTC                   never     delta
//	event_count  INT64                                       never     delta
//	value_count  INT64                                       *         delta
//	value_sum    FIXED_LEN_BYTE_ARRAY(16), DECIMAL(38, 0)    *         plain
//	value_min    INT64                                       *         delta
//	value_max    INT64                                       *         delta
//
//	* null if no event had a value
//
// The start is a TIMESTAMP without time zone, as engines call it; it is UTC. Pages hold up to 8,192 rows, row groups 131,072, all zstd; there are statistics,
// a page index, the sort order, and a split-block bloom filter of the keys a row group. The metadata has quipu.version, quipu.resolution,
// quipu.date, quipu.cluster and quipu.shard, and a seal that makes each byte of the file accountable: whatever is
// read here is checked, and what was changed is ErrDamaged.
//
// The same cell (partition, type, key, start) may have several rows in a file, and in several files: they add up.
//
// A File may be used by any number of goroutines at once and kept as long as the object exists: objects never change. All other values belong to one goroutine.
package countfile
