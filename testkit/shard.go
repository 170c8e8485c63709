package testkit

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/deploy/local"
)

// ShardServers are the databases of one shard. The replica is read-only and
// replicates; both have the same accounts and passwords.
type ShardServers struct {
	Primary, Replica *Database
}

// Shard starts a primary and its replica for one test.
func Shard(t testing.TB, options ...Option) *ShardServers {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	shard, err := StartShard(ctx, t.TempDir(), options...)
	if err != nil {
		t.Fatal(err)
	}
	for _, db := range []*Database{shard.Primary, shard.Replica} {
		t.Cleanup(func() { finish(t, db, db.Name(), db.LogFile()) })
	}
	return shard
}

// StartShard starts a primary and its replica in a folder; the caller closes.
func StartShard(ctx context.Context, dir string, options ...Option) (*ShardServers, error) {
	passwords := local.NewPasswords()
	shard := &ShardServers{}
	var group errgroup.Group
	group.Go(func() (err error) {
		shard.Primary, err = startServer(ctx, filepath.Join(dir, "primary"), "primary", passwords, options...)
		return err
	})
	group.Go(func() (err error) {
		replica := append([]Option{func(c *local.MariaDBConfig) { c.ReadOnly = true }}, options...)
		shard.Replica, err = startServer(ctx, filepath.Join(dir, "replica"), "replica", passwords, replica...)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, shard.Close())
	}
	if err := shard.connect(ctx, passwords); err != nil {
		return nil, errors.Join(err, shard.Close())
	}
	return shard, nil
}

func (s *ShardServers) connect(ctx context.Context, passwords local.Passwords) error {
	if err := local.ConfigureAccounts(ctx, s.Primary.MariaDB, passwords); err != nil {
		return err
	}
	if err := local.Replicate(ctx, s.Primary.MariaDB, s.Replica.MariaDB, passwords[local.AccountReplicate]); err != nil {
		return err
	}
	return s.Await(ctx)
}

// Await waits until the replica has what the primary has now.
func (s *ShardServers) Await(ctx context.Context) error {
	return local.AwaitReplica(ctx, s.Primary.MariaDB, s.Replica.MariaDB)
}

// AwaitReplica is Await for a test.
func (s *ShardServers) AwaitReplica(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := s.Await(ctx); err != nil {
		t.Fatal(err)
	}
}

// Close kills both servers and removes their folders.
func (s *ShardServers) Close() error {
	var errs []error
	for _, db := range []*Database{s.Primary, s.Replica} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
