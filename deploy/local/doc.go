// Package local runs a whole Quipu cluster on one machine, and the parts of one:
// MariaDB, ZooKeeper and any program of our own, as private child processes. The
// launcher behind `quipu up`, tests and benchmarks use it; a fleet does not.
//
//	Cluster ─┬─► ZooKeeper, MariaDB (primary ─GTID─► replica, for each shard)
//	         ├─► quipu cluster init, migrate up, event-type create
//	         └─► Role: quipu shard-proxy, cluster-proxy, ingest, writer, reader
//
// Cluster knows roles by their command line and their /readyz only. Everything of a
// cluster lies in one data folder; cluster.json in it (Description) says what runs.
//
// # What it guarantees
//
//   - A server listens on the loopback interface only, keeps all of its files in
//     the folder it was given, and reads no configuration of the machine.
//   - Start returns when the server truly answers, or with an error that ends in
//     the last lines of its log.
//   - Data survives Kill and a kill of the launcher: starting again on the same
//     folder continues with it.
//   - A server that a killed launcher left behind is found again through its pid
//     file and stopped before a new one starts. The file names the process by
//     pid, start time and boot, so another process that was given the same pid
//     later is never touched.
//   - Supervise starts again whatever ends, with growing pauses and without end.
//   - What a data folder holds is never written over by something else: a folder of
//     another format, of another cluster or of other files is refused.
//   - Waiting is bounded by the caller's context everywhere.
//
// # Concurrency
//
// The methods of Process, MariaDB, ZooKeeper and Role may be called from any goroutine;
// of the calls that start and stop one server, one runs at a time. See Cluster for its
// own.
package local
