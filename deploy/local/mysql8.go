package local

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What differs when the server is a MySQL 8.0.22 or newer instead of MariaDB (MariaDBConfig.MySQL).

// renamedSettings are those of baseSettings that MySQL knows by another name, or, with none, doesn't know.
var renamedSettings = map[string]string{
	"log_slave_updates":          "log_replica_updates",
	"slave_net_timeout":          "replica_net_timeout",
	"innodb_log_file_size":       "innodb_redo_log_capacity",
	"binlog_annotate_row_events": "",
	"gtid_strict_mode":           "",
	"idle_transaction_timeout":   "",
}

func mysqlSettings(all map[string]string) map[string]string {
	out := map[string]string{"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "mysqlx": "OFF", "secure_file_priv": "NULL"}
	maps.Copy(out, all)
	for name, other := range renamedSettings {
		value, ok := out[name]
		delete(out, name)
		if ok && other != "" {
			out[other] = value
		}
	}
	return out
}

// initializeMySQL makes a data folder whose only account is root without a password. It comes in through the unix socket alone: its host is
// localhost, and names are not looked up.
func initializeMySQL(ctx context.Context, server, dataDir string) error {
	args := []string{"--no-defaults", "--initialize-insecure", "--datadir=" + dataDir, "--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin"}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	if out, err := exec.CommandContext(ctx, server, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", server, err, indent(strings.TrimSpace(string(out))))
	}
	// Each copy shall make an identity of its own: replicas of the same one refuse each other.
	return os.Remove(filepath.Join(dataDir, "auto.cnf"))
}

// mysqlPrivileges are MySQL's words for those of MariaDB.
var mysqlPrivileges = strings.NewReplacer(
	"BINLOG MONITOR, REPLICA MONITOR", "REPLICATION CLIENT",
	"CONNECTION ADMIN", "CONNECTION_ADMIN",
	"READ_ONLY ADMIN", "SYSTEM_VARIABLES_ADMIN",
	"BINLOG ADMIN", "BINLOG_ADMIN",
	"REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, SET USER", "REPLICATION_SLAVE_ADMIN",
	"REPLICATION SLAVE ADMIN", "REPLICATION_SLAVE_ADMIN",
)

// grantsOn are the grants in the server's words.
func (m *MariaDB) grantsOn(account Account) []string {
	list := grants()[account]
	if m.config.MySQL == "" {
		return list
	}
	out := make([]string, len(list))
	for i, grant := range list {
		out[i] = mysqlPrivileges.Replace(grant)
	}
	if account == AccountMonitor || account == AccountFailover {
		out = append(out, "SELECT ON `performance_schema`.*") // signs of life of a replica's source
	}
	return out
}

// limitsOn are the limits in the server's words: MySQL has none for the statements of an account.
func (m *MariaDB) limitsOn(account Account) string {
	all := limits(account)
	if m.config.MySQL != "" {
		all, _, _ = strings.Cut(all, " MAX_STATEMENT_TIME")
	}
	return all
}

// pointMySQLAt is pointAt for MySQL.
func pointMySQLAt(ctx context.Context, primary, replica *MariaDB, password string) error {
	root, err := replica.rootConnection(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = root.ExecContext(ctx, "STOP REPLICA")
	if err != nil {
		return err
	}
	_, err = root.ExecContext(ctx, `CHANGE REPLICATION SOURCE TO
		SOURCE_HOST = '127.0.0.1', SOURCE_PORT = ?, SOURCE_USER = ?, SOURCE_PASSWORD = ?, SOURCE_AUTO_POSITION = 1,
		SOURCE_HEARTBEAT_PERIOD = 1, SOURCE_CONNECT_RETRY = 1, GET_SOURCE_PUBLIC_KEY = 1`, primary.Port(), string(AccountReplicate), password)
	if err != nil {
		return err
	}
	_, err = root.ExecContext(ctx, "START REPLICA")
	return err
}

// mysqlStatusNames are MariaDB's names of the columns of a replica's status by MySQL's.
var mysqlStatusNames = map[string]string{"Replica_IO_Running": "Slave_IO_Running", "Replica_SQL_Running": "Slave_SQL_Running"}

func (m *MariaDB) statusStatement() string {
	if m.config.MySQL != "" {
		return "SHOW REPLICA STATUS"
	}
	return "SHOW SLAVE STATUS"
}

// positionStatement selects what the server has logged.
func (m *MariaDB) positionStatement() string {
	if m.config.MySQL != "" {
		return "SELECT @@GLOBAL.gtid_executed"
	}
	return "SELECT @@GLOBAL.gtid_binlog_pos"
}

// awaitStatement selects 0 once the server has applied a position, something else after half a second.
func (m *MariaDB) awaitStatement() string {
	if m.config.MySQL != "" {
		return "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 0.5)"
	}
	return "SELECT MASTER_GTID_WAIT(?, 0.5)"
}

// grantDefiner lets an account make views of others, in the words of the server: they changed with 8.2.
func (m *MariaDB) grantDefiner(ctx context.Context, root *sql.Conn, account Account, user string) error {
	if m.config.MySQL == "" || account != AccountRebuild {
		return nil
	}
	_, err := root.ExecContext(ctx, "GRANT SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER ON *.* TO "+user)
	if err != nil {
		_, err = root.ExecContext(ctx, "GRANT SET_USER_ID ON *.* TO "+user)
	}
	return err
}
