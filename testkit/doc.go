// Package testkit gives tests the real servers that Quipu needs, each private and
// fresh: MariaDB with Quipu's accounts, a replicated pair of them, ZooKeeper, an
// S3-compatible object store, and
// the quipu program itself.
//
// The functions that take a testing.TB stop and remove what they started when the
// test ends and print the ends of the servers' logs if it failed. Those named
// Start… are for TestMain and for programs: the caller closes. A server never
// outlives the test process, not even when that is killed. Where a server is not
// installed the test fails and says so; it is never skipped.
package testkit
