// Package migrations holds the schema of a shard as numbered SQL, embedded in the binary, and runs it over the shards of a
// cluster with golang-migrate.
//
// # Guarantees
//
//   - One shard goes first; the others follow, a few at a time, only once it has succeeded. After a failure no further shard starts.
//   - Two runs never work on one shard at once: each holds a lock in the server on the one connection that it works
//     through, besides the lock of the cluster that the caller may supply.
//   - Every run leaves a row a file in the shard's migration_history, written before each statement starts. What was interrupted,
//     by an error or by kill -9, is therefore reported with its shard, version, file and statement, and nothing is run on
//     top of it until Force says what the shard really has.
//   - A shard whose version this build does not know is left alone. A file that destroys data runs only with AllowDataLoss.
//   - A file may begin with an INSERT that a constraint refuses when the file must not run. That is ErrRefused: nothing was changed.
//   - Plan, Status and Version never write.
//
// Roles ask Known before they trust a schema. Deploy new roles first and migrate then: a build works with every version
// from Oldest to Latest.
//
// A Runner may be used by one goroutine at a time.
package migrations
