// Package reader is the query service: the public HTTP API for counts, its OpenAPI document, and a small console page.
//
// A request is parsed strictly (an unknown or repeated parameter is an error), planned as lookups against sources, gathered,
// and answered with its provenance: as-of, staleness, coverage, sources (INV-8). Today the only source is the cluster proxies;
// planLookups is the place where cold storage and a result cache join.
//
// Guarantees: a part that is missing is never counted as 0: one key that can't be told is a 503, an item of a batch
// carries its own error, and a ranking says in its coverage what it lacks. Every question has a deadline, and the numbers of
// questions and of waits in flight are bounded (INV-9); beyond them the answer is 429.
//
// A Reader holds no state of its own between requests and is safe for concurrent use. It starts no goroutine that outlives a request.
package reader
