// Package lifetime_test lives through years of a cluster in minutes: random events, flushes, roll-ups, retention, archiving, restores, crashes and
// promotions, on a real shard of two MariaDB servers with the real roles around it, against a plain model in memory. After every step every answer must equal the
// model's (INV-1, INV-5, INV-6).
//
// Time is the test's own: one life goes on through all sequences, each of which takes some days of it. So what was archived by one is late, read,
// restored and compacted by others.
package lifetime_test
