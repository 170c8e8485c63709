// Package reader is the query service: the public HTTP API for counts, its OpenAPI document, and a small console page.
//
// A request is parsed strictly (an unknown or repeated parameter is an error), planned as lookups, and answered with its
// provenance: as-of, staleness, coverage, sources (INV-8). A lookup asks the cluster proxies; to what the shards have it adds the rows that they say
// are in cold storage (package cold, docs/archive.md).
//
// Guarantees: a part that is missing is never counted as 0: one key that can't be told is an error, an item of a batch
// carries its own, and a ranking says in its coverage what it lacks. What cold storage holds may be left out where the request accepts
// that, and the answer then says so. Every question has a deadline, and the numbers of questions, of those that read from cold
// storage, and of waits in flight are bounded (INV-9); beyond them the answer is 429.
//
// A Reader holds no state between requests but what cold storage caches, and is safe for concurrent use. It starts no goroutine that
// outlives a request.
package reader
