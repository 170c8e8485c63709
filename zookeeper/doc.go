// Package zookeeper keeps in ZooKeeper what the processes of a cluster must agree on: settings, topology, event types, who is
// alive, who holds which partition. LAYOUT.md lists the nodes.
//
// # Guarantees
//
//   - Never on a request path (INV-10): requests use the Directory's snapshot in memory, which is the last one known to be
//     good. It is also on disk, so that a process starts while ZooKeeper is away.
//   - A failed read is not a deletion, a lost connection is not a lost session, and a notification is no change until
//     what it announces was read and compared.
//   - Ephemeral nodes are made again in every new session (Client.Register; a Leases holder by asking again).
//   - Every call waits for at most Config.CallTimeout, whatever the library below does.
//
// # Sessions
//
// Only a server can end a session. While the connection is away the session, and with it every lease, is taken to be
// alive; when the server says that it ended, the library opens a new one. If no server can be convinced for a long time
// (one that lost its data refuses every client that has seen more), the connection is replaced by a fresh one.
//
// Client, Directory and Leases are safe for concurrent use.
package zookeeper
