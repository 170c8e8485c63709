package zookeeper

import (
	"errors"
	"net"

	"github.com/go-zookeeper/zk"
)

// Errors of this package. Test with errors.Is.
var (
	ErrDisconnected    = errors.New("no connection to ZooKeeper")
	ErrClosed          = errors.New("ZooKeeper client has ended")
	ErrTimeout         = errors.New("ZooKeeper did not answer in time")
	ErrNoCluster       = errors.New("no cluster has been created in ZooKeeper yet")
	ErrOtherCluster    = errors.New("ZooKeeper holds another cluster")
	ErrSettings        = errors.New("invalid cluster settings")
	ErrTopologyChanged = errors.New("topology has been changed meanwhile")
	ErrTypeConflict    = errors.New("event type exists with another definition")
	ErrTooManyTypes    = errors.New("too many event types")
	ErrOtherLog        = errors.New("cluster counts another event log")
	ErrMemberID        = errors.New("member id is in use by another live process")
	ErrName            = errors.New("invalid name")
)

// connectionLost tells whether an operation failed on its way: whether it took place is unknown.
func connectionLost(err error) bool {
	if _, onTheWay := errors.AsType[*net.OpError](err); onTheWay { // what the library says of a connection that was reset
		return true
	}
	return errors.Is(err, zk.ErrConnectionClosed) || errors.Is(err, zk.ErrSessionExpired) || errors.Is(err, zk.ErrNoServer) ||
		errors.Is(err, zk.ErrSessionMoved) || errors.Is(err, zk.ErrClosing)
}
