package testkit

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/deploy/local"
)

// Servers starts a primary and its replicas for one test, n in all, the primary first. All of them come up read-only, as in production; the
// primary is then let write.
func Servers(t testing.TB, n int, options ...Option) []*Database {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	passwords, dir := local.NewPasswords(), t.TempDir()
	servers := make([]*Database, n)
	var group errgroup.Group
	for i := range servers {
		group.Go(func() (err error) {
			name := fmt.Sprintf("s1-%c", 'a'+i)
			readOnly := append([]Option{func(c *local.MariaDBConfig) { c.ReadOnly = true }}, options...)
			servers[i], err = startServer(ctx, filepath.Join(dir, name), name, passwords, readOnly...)
			return err
		})
	}
	err := group.Wait()
	for _, db := range servers {
		if db != nil {
			t.Cleanup(func() { finish(t, db, db.Name(), db.LogFile()) })
		}
	}
	if err == nil {
		err = local.ConfigureAccounts(ctx, servers[0].MariaDB, passwords)
	}
	for _, replica := range servers[1:] {
		if err == nil {
			err = local.Replicate(ctx, servers[0].MariaDB, replica.MariaDB, passwords[local.AccountReplicate])
		}
	}
	if err == nil {
		_, err = servers[0].Root().ExecContext(ctx, "SET GLOBAL read_only = OFF")
	}
	if err != nil {
		t.Fatal(err)
	}
	return servers
}
