package local

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// cloneData gives a replica the data of its primary: both stop, the primary's data
// folder is copied, both start again, and the replica knows from where to go on. Nobody
// else may be using them.
func cloneData(ctx context.Context, primary, replica *MariaDB) error {
	if err := copyStopped(ctx, primary, replica); err != nil {
		return fmt.Errorf("copy %s to %s: %w", primary.Name(), replica.Name(), err)
	}
	for _, server := range []*MariaDB{primary, replica} {
		quick, cancel := context.WithTimeout(ctx, startPatience)
		err := server.Start(quick)
		cancel()
		if err != nil {
			return err
		}
	}
	root, err := replica.rootConnection(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	// The copy has the primary's binary log: its end is where replication goes on.
	for _, statement := range []string{"STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL gtid_slave_pos = @@GLOBAL.gtid_binlog_pos"} {
		if _, err := root.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("set position of %s: %w", replica.Name(), err)
		}
	}
	return nil
}

func copyStopped(ctx context.Context, primary, replica *MariaDB) error {
	for _, server := range []*MariaDB{replica, primary} {
		grace, cancel := context.WithTimeout(ctx, serverStopGrace)
		err := server.Stop(grace)
		cancel()
		if err != nil {
			return err
		}
	}
	// A copy that was interrupted must not pass for a data folder.
	unfinished := replica.dataDir() + ".unfinished"
	if err := errors.Join(os.RemoveAll(unfinished), copyTree(primary.dataDir(), unfinished)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.RemoveAll(replica.dataDir()); err != nil {
		return err
	}
	return os.Rename(unfinished, replica.dataDir())
}
