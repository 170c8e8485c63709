// Package local runs the servers that a Quipu cluster needs as private child
// processes on one machine: MariaDB, ZooKeeper and any program of our own. The
// launcher behind `quipu up` and the tests use it; a fleet does not.
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
//   - Waiting is bounded by the caller's context everywhere.
//
// # Concurrency
//
// The methods of Process, MariaDB and ZooKeeper may be called from any goroutine;
// of the calls that start and stop one server, one runs at a time.
package local
