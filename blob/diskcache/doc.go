// Package diskcache keeps parts of objects of cold storage in a folder of this machine.
//
// Objects never change and their names are never used again, so what is cached stays true: nothing is ever invalidated. A block is a file of its own:
//
//	DIR/lock
//	DIR/7f/7f03…e1      magic "QCB1" · CRC-32C of what follows · block number (8 bytes) · length of the name (2 bytes) · name · the block's bytes
//
// Guarantees. The files together take at most Config.MaxBytes, counted in the 4 KiB that file systems give out; before a block would
// pass that, those used longest ago go. A block that is not what was written, or that is gone, is fetched again. A cache that cannot write serves what it
// fetches all the same. A folder belongs to one Cache at a time: a second is refused with ErrLocked.
//
// The cache survives a restart; what was used last is then taken to be what was written last. Blocks are not flushed: a crash of the machine costs
// blocks, which their checksums tell.
//
// Concurrency. A Cache and a Reader may be used by any number of goroutines. A block that several want at once is fetched once; who waits
// for it waits no longer than its own context, and fetches it itself if the first one's context ended.
package diskcache
