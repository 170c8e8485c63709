package backup

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/wire"
)

const (
	settlePatience = 30 * time.Minute // a server that starts may have a lot to read
	settlePoll     = 50 * time.Millisecond
	stopPatience   = 5 * time.Minute
)

// settle starts a server that nobody can reach on the prepared folder and makes the shard's state that of a restored one.
func (cfg *RestoreConfig) settle(ctx context.Context, dir string) (restored *Restored, err error) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	scratch, err := os.MkdirTemp("", "quipu-restore-") // short: a socket's path has a limit
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	server, err := startAlone(dir, scratch)
	if err != nil {
		return nil, err
	}
	defer func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		err = errors.Join(err, server.Stop(grace))
	}()
	db, err := awaitSocket(ctx, server, filepath.Join(scratch, "sock"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return cfg.change(ctx, db, dir)
}

// startAlone runs a server without network, accounts, binary log and replication.
func startAlone(dir, scratch string) (*local.Process, error) {
	program, err := local.FindProgram("mariadbd")
	if err != nil {
		return nil, err
	}
	account, err := user.Current()
	if err != nil {
		return nil, err
	}
	return local.StartProcess(local.Command{
		Name: "temporary MariaDB", Path: program, LogFile: filepath.Join(scratch, "log"), DieWithParent: true,
		Args: []string{
			"--defaults-file=" + filepath.Join(dir, "backup-my.cnf"), "--datadir=" + dir, "--user=" + account.Username,
			"--skip-networking", "--skip-grant-tables", "--skip-log-bin", "--skip-slave-start",
			"--socket=" + filepath.Join(scratch, "sock"), "--pid-file=" + filepath.Join(scratch, "pid"),
			"--innodb-flush-log-at-trx-commit=1", "--innodb-fast-shutdown=1",
		},
	})
}

func awaitSocket(ctx context.Context, server *local.Process, socket string) (*sql.DB, error) {
	config := baseConfig()
	config.User, config.Net, config.Addr = "root", "unix", socket
	db, err := openDB(config)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(settlePoll)
	defer ticker.Stop()
	for {
		if err = db.PingContext(ctx); err == nil {
			return db, nil
		}
		select {
		case <-server.Done():
			err = fmt.Errorf("the server does not start on the restored folder: %w\n%s", errors.Join(server.Err(), err), server.LogTail(20))
		case <-ctx.Done():
			err = errors.Join(ctx.Err(), err)
		case <-ticker.C:
			continue
		}
		return nil, errors.Join(err, db.Close())
	}
}

// change checks whose data it is, notes where replication goes on, and raises the term: key ids that proxies learnt from the lost database
// may mean other keys here.
func (cfg *RestoreConfig) change(ctx context.Context, db *sql.DB, dir string) (*Restored, error) {
	d := cfg.Backup.Description
	found, err := readState(ctx, db, "quipu.")
	if err != nil {
		return nil, fmt.Errorf("read the shard's state: %w", err)
	}
	if found.clusterID != d.ClusterID || found.shard != d.Shard {
		return nil, fmt.Errorf("%w: it holds shard %s of %s", ErrOther, found.shard, found.clusterID)
	}
	if cfg.Term <= found.term {
		return nil, fmt.Errorf("the term must be larger than the backup's, %d, and than any later one; it is %d", found.term, cfg.Term)
	}
	position, err := replicationPosition(ctx, db, dir)
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, "SET GLOBAL gtid_slave_pos = ?", position); err != nil {
		return nil, fmt.Errorf("set position %s: %w", position, err)
	}
	if _, err := db.ExecContext(ctx, "UPDATE quipu.shard_state SET term = ? WHERE id = 1", cfg.Term); err != nil {
		return nil, fmt.Errorf("raise term: %w", err)
	}
	return &Restored{Position: position, Term: cfg.Term, Checkpoints: found.checkpoints}, nil
}

// replicationPosition merges what the server had applied as a replica, which is in its tables, with what was in its binary log, which
// a backup leaves out.
func replicationPosition(ctx context.Context, db *sql.DB, dir string) (string, error) {
	var applied string
	if err := db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_slave_pos").Scan(&applied); err != nil {
		return "", fmt.Errorf("read position: %w", err)
	}
	logged, err := loggedPosition(dir)
	if err != nil {
		return "", err
	}
	return mergePositions(applied, logged)
}

// loggedPosition reads file, position and GTID of the binary log as mariadb-backup noted them.
func loggedPosition(dir string) (string, error) {
	for _, name := range []string{"xtrabackup_binlog_info", "mariadb_backup_binlog_info"} { // by version
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if fields := strings.Split(strings.TrimSpace(string(text)), "\t"); len(fields) >= 3 {
			return fields[2], nil
		}
		return "", nil
	}
	return "", nil
}

// mergePositions takes the later GTID of each domain.
func mergePositions(lists ...string) (string, error) {
	type gtid struct {
		sequence uint64
		text     string
	}
	latest := map[uint64]gtid{}
	for _, list := range lists {
		for text := range strings.SplitSeq(list, ",") {
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			parts := strings.Split(text, "-")
			if len(parts) != 3 {
				return "", fmt.Errorf("%q is no GTID", text)
			}
			domain, err := strconv.ParseUint(parts[0], 10, 32)
			sequence, err2 := strconv.ParseUint(parts[2], 10, 64)
			if err := cmp.Or(err, err2); err != nil {
				return "", fmt.Errorf("%q is no GTID: %w", text, err)
			}
			if sequence >= latest[domain].sequence {
				latest[domain] = gtid{sequence, text}
			}
		}
	}
	var merged []string
	for _, domain := range slices.Sorted(maps.Keys(latest)) {
		merged = append(merged, latest[domain].text)
	}
	return strings.Join(merged, ","), nil
}

// Reach lists what keeps a log from healing a database of these checkpoints: nothing if it reaches back far enough.
func Reach(checkpoints []Checkpoint, hold *wire.LogHold) []string {
	var missing []string
	for _, c := range checkpoints {
		if c.Partition >= len(hold.Partitions) {
			missing = append(missing, fmt.Sprintf("partition %d is not in the log", c.Partition))
			continue
		}
		p, needed := hold.Partitions[c.Partition], max(min(c.WindowFrom, c.NextOffset), 1)
		switch {
		case c.Incarnation != "" && c.Incarnation != hold.Incarnation:
			missing = append(missing, fmt.Sprintf("partition %d counts in the log %s, this is %s", c.Partition, c.Incarnation, hold.Incarnation))
		case p.First > needed:
			missing = append(missing, fmt.Sprintf("partition %d needs the log from offset %d on (its window; counts from %d), it begins at %d", c.Partition, needed, c.NextOffset, p.First))
		case c.NextOffset > p.Next:
			missing = append(missing, fmt.Sprintf("partition %d is at offset %d, the log ends at %d", c.Partition, c.NextOffset, p.Next))
		}
	}
	return missing
}
