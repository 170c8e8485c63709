package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const replicationPoll = 20 * time.Millisecond

// ErrForked says that a replica can't go on from its primary's binary log: it has
// what the log lacks, or lacks what the log no longer has.
var ErrForked = errors.New("can't go on from its primary's log")

// Replicate makes a server the replica of another and returns when its threads
// run. The replica fetches all that it lacks by GTID, so repeating it, or doing it
// again after either was restarted, is safe.
func Replicate(ctx context.Context, primary, replica *MariaDB, password string) error {
	point := pointAt
	if replica.config.MySQL != "" {
		point = pointMySQLAt
	}
	if err := point(ctx, primary, replica, password); err != nil {
		return fmt.Errorf("replicate %s to %s: %w", primary.Name(), replica.Name(), err)
	}
	err := pollReplica(ctx, func(ctx context.Context) error {
		return replicaRuns(ctx, replica)
	})
	if err != nil {
		return fmt.Errorf("replicate %s to %s: %w", primary.Name(), replica.Name(), err)
	}
	return nil
}

func pointAt(ctx context.Context, primary, replica *MariaDB, password string) error {
	root, err := replica.rootConnection(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.ExecContext(ctx, "STOP SLAVE"); err != nil {
		return err
	}
	_, err = root.ExecContext(ctx, `CHANGE MASTER TO
		MASTER_HOST = '127.0.0.1', MASTER_PORT = ?, MASTER_USER = ?, MASTER_PASSWORD = ?,
		MASTER_USE_GTID = slave_pos, MASTER_HEARTBEAT_PERIOD = 1, MASTER_CONNECT_RETRY = 1`,
		primary.Port(), string(AccountReplicate), password)
	if err != nil {
		return err
	}
	_, err = root.ExecContext(ctx, "START SLAVE")
	return err
}

// replicaRuns is an error that says what keeps a replica from replicating.
func replicaRuns(ctx context.Context, replica *MariaDB) error {
	status, err := replicaStatus(ctx, replica)
	if err != nil {
		return err
	}
	if status["Slave_IO_Running"] == "Yes" && status["Slave_SQL_Running"] == "Yes" {
		return nil
	}
	err = fmt.Errorf("reading the log: %s %s; applying it: %s %s",
		status["Slave_IO_Running"], status["Last_IO_Error"], status["Slave_SQL_Running"], status["Last_SQL_Error"])
	if status["Last_IO_Errno"] == masterFatal || status["Slave_SQL_Running"] == "No" && status["Last_SQL_Errno"] != "0" {
		return fmt.Errorf("%w: %w", ErrForked, err)
	}
	return err
}

// masterFatal is the error with which a primary refuses a replica's position.
const masterFatal = "1236"

// pollReplica polls until try succeeds, ctx is done, or the replica can't go on.
func pollReplica(ctx context.Context, try func(context.Context) error) error {
	var forked error
	err := poll(ctx, replicationPoll, func(ctx context.Context) error {
		err := try(ctx)
		if errors.Is(err, ErrForked) {
			forked = err
			return nil
		}
		return err
	})
	return errors.Join(forked, err)
}

func replicaStatus(ctx context.Context, replica *MariaDB) (map[string]string, error) {
	root, err := replica.rootConnection(ctx)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	rows, err := root.QueryContext(ctx, replica.statusStatement())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	status := map[string]string{}
	if !rows.Next() {
		return status, rows.Err()
	}
	values := make([]sql.NullString, len(names))
	targets := make([]any, len(names))
	for i := range values {
		targets[i] = &values[i]
	}
	if err := rows.Scan(targets...); err != nil {
		return nil, err
	}
	for i, name := range names {
		if other, ok := mysqlStatusNames[name]; ok {
			name = other
		}
		status[name] = values[i].String
	}
	return status, rows.Close()
}

// AwaitReplica waits until a replica has applied all that its primary's binary
// log holds at the time of the call.
func AwaitReplica(ctx context.Context, primary, replica *MariaDB) error {
	var position string
	source, err := primary.rootConnection(ctx)
	if err != nil {
		return fmt.Errorf("await replica %s: %w", replica.Name(), err)
	}
	defer source.Close()
	if err := source.QueryRowContext(ctx, primary.positionStatement()).Scan(&position); err != nil {
		return fmt.Errorf("await replica %s: %w", replica.Name(), err)
	}
	err = pollReplica(ctx, func(ctx context.Context) error {
		return replicaAt(ctx, replica, position)
	})
	if err != nil {
		return fmt.Errorf("await replica %s: %w", replica.Name(), err)
	}
	return nil
}

// replicaAt waits a little for a position: short waits end soon after the caller
// has given up, for the server does not notice that.
func replicaAt(ctx context.Context, replica *MariaDB, position string) error {
	root, err := replica.rootConnection(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	var result int
	if err := root.QueryRowContext(ctx, replica.awaitStatement(), position).Scan(&result); err != nil {
		return err
	}
	if result == 0 {
		return nil
	}
	if err := replicaRuns(ctx, replica); err != nil {
		return err
	}
	return fmt.Errorf("position %s is not reached", position)
}
