// Package embedded is the event log of one machine: a directory of segment files per partition, kept by hashicorp/raft-wal.
//
// Guarantees. Append returns once the batch is flushed to the disk (INV-2); one append is one record and one commit. Offsets
// start at 1 and have no gaps. Append times come from one clock that never steps back, not even when the machine's does
// or over a restart, and no record is ever given a time below an AsOf that a reader was given before (INV-7). Open verifies every
// record that is kept: the last commit may be torn by a crash, in which case it was never acknowledged and is cut off; anything else
// that is not as it was written is an *eventlog.DamageError naming file and byte.
//
// Concurrency. A Log is safe for concurrent use. Appends to one partition run one after another, those to different partitions at
// once; reads run beside appends, and those near the end of a partition are answered from memory.
//
// On disk:
//
//	DIR/log.json            version, incarnation, number of partitions, checksum
//	DIR/lock                held by the process that has the log open
//	DIR/clock               a time that no record and no AsOf has passed yet
//	DIR/clean.json          only after a clean end: the next offset of each partition
//	DIR/p0007/segments      which segment files count, with a checksum
//	DIR/p0007/*.wal         segment files of raft-wal, one entry a record
//
// A record, inside the entry of raft-wal that holds it:
//
//	0  "QREC"                 8  offset, 8 bytes
//	4  version 1              16 append time in ms, 8 bytes
//	5  three zero bytes       24 length of the data, 4 bytes
//	                          28 CRC-32C of the data, 4 bytes
//	                          32 CRC-32C of the incarnation and bytes 0–31, 4 bytes
//	                          36 data
//
// What counts as torn. A disk writes a sector of 512 bytes or leaves it; space that was reserved and never written reads as zeros. So
// the last commit is torn when some sector of it is still zeros or when the file ends within it. If every sector holds something
// and the commit does not verify, or if a later record can be found, then bytes have changed after they were acknowledged: damage.
package embedded
