package testkit

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/quipudb/quipu/deploy/local"
)

// ZooKeeperServer is a private ZooKeeper. It can be killed, paused and started
// again with its data.
type ZooKeeperServer struct {
	*local.ZooKeeper

	dir  string
	port *local.Port
}

// ZooKeeper starts a server for one test.
func ZooKeeper(t testing.TB) *ZooKeeperServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	zk, err := StartZooKeeper(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, zk, "ZooKeeper", zk.LogFile()) })
	return zk
}

// StartZooKeeper starts a server in a folder; the caller closes it.
func StartZooKeeper(ctx context.Context, dir string) (*ZooKeeperServer, error) {
	port, err := local.ReservePort()
	if err != nil {
		return nil, err
	}
	zk := &ZooKeeperServer{
		ZooKeeper: local.NewZooKeeper(local.ZooKeeperConfig{Dir: dir, Port: port.Number, DieWithParent: true}),
		dir:       dir, port: port,
	}
	if err := zk.Start(ctx); err != nil {
		return nil, errors.Join(err, port.Release())
	}
	return zk, nil
}

// Close kills the server and removes its folder.
func (z *ZooKeeperServer) Close() error {
	return errors.Join(z.Kill(), z.port.Release(), os.RemoveAll(z.dir))
}
