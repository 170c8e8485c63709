// Package cold reads the rows that a shard says are in cold storage (wire.ColdPart): for each part of a question all rows of the asked
// keys in all objects of the part, each once.
//
// Guarantees: what could not be read is in Answer.Failures, never a zero in silence. Reads in flight are bounded over all questions, their
// bytes over the parts of one question (Budget), their time by the caller's context. Once storage is down or the budget is spent, a
// question tries no further object; what is in the cache is still told.
//
// What an object holds of one key is a segment. Objects never change and their names are never used again, so segments, empty ones too,
// stay true for ever: they are kept in memory, the least recently used going first. Late rows don't touch them: those are in the shard's
// late tables or in further objects, which the part names. Questions that want the same segment at a time share one read.
//
// A Storage is safe for concurrent use and starts no goroutine that outlives a call.
package cold
