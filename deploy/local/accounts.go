package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Account is the user name of one of Quipu's database accounts.
type Account string

// Every account may do what its work needs and nothing else.
const (
	// AccountApply adds counts, makes and drops time partitions of the counts tables, and deletes what moved to cold storage, is
	// released from what was brought back, falls off a ranked list, or was told of late changes long ago.
	AccountApply Account = "quipu_apply"
	// AccountRead answers queries.
	AccountRead Account = "quipu_read"
	// AccountAnalyst is for people: the views in the schema analytics only.
	AccountAnalyst Account = "quipu_analyst"
	// AccountMigrate owns both schemas.
	AccountMigrate Account = "quipu_migrate"
	// AccountMonitor sees health, replication and running statements.
	AccountMonitor Account = "quipu_monitor"
	// AccountReplicate is how a replica reads its primary's binary log.
	AccountReplicate Account = "quipu_replicate"
	// AccountBackup is what mariadb-backup works as.
	AccountBackup Account = "quipu_backup"
	// AccountFailover changes the roles of servers.
	AccountFailover Account = "quipu_failover"
	// AccountRebuild fills a server anew from another one.
	AccountRebuild Account = "quipu_rebuild"
)

const (
	// SchemaCounts holds Quipu's tables, SchemaAnalytics the analysts' views.
	SchemaCounts    = "quipu"
	SchemaAnalytics = "analytics"
	// accountHost is where accounts connect from: this machine, by TCP.
	accountHost = "127.0.0.1"
)

// Accounts lists all of them.
func Accounts() []Account {
	return slices.Sorted(maps.Keys(grants()))
}

// shrinkingTables are those of which AccountApply deletes rows.
func shrinkingTables() []string {
	return []string{
		"ranked_counts", "ranked_bounds", "ranked_grown",
		"late_minute_counts", "late_hour_counts", "late_day_counts", "restored_minute_counts", "restored_hour_counts", "restored_day_counts",
		"restored_ranges", "archive_manifest", "archive_intents", "late_changes",
	}
}

// grants is what each account may do, in the words that follow GRANT. Rights on a table that a later migration makes need CREATE beside them.
func grants() map[Account][]string {
	apply := []string{
		"SELECT, INSERT, UPDATE ON `quipu`.*",
		"ALTER, CREATE, DROP ON `quipu`.`minute_counts`",
		"ALTER, CREATE, DROP ON `quipu`.`hour_counts`",
		"ALTER, CREATE, DROP ON `quipu`.`day_counts`",
	}
	for _, table := range shrinkingTables() {
		apply = append(apply, "CREATE, DELETE ON `quipu`.`"+table+"`")
	}
	return map[Account][]string{
		AccountApply:   apply,
		AccountRead:    {"SELECT ON `quipu`.*"},
		AccountAnalyst: {"SELECT, SHOW VIEW ON `analytics`.*"},
		AccountMigrate: {
			"ALL PRIVILEGES ON `quipu`.*",
			"ALL PRIVILEGES ON `analytics`.*",
		},
		AccountMonitor: {
			"PROCESS, BINLOG MONITOR, REPLICA MONITOR ON *.*",
			"SELECT ON `quipu`.*",
		},
		AccountReplicate: {"REPLICATION SLAVE ON *.*"},
		AccountBackup: {
			"RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR ON *.*",
			"SELECT ON `quipu`.*",
		},
		AccountFailover: {
			"PROCESS, RELOAD, CONNECTION ADMIN, READ_ONLY ADMIN, BINLOG MONITOR, REPLICA MONITOR, REPLICATION SLAVE ADMIN ON *.*",
			"SELECT ON `quipu`.*",
			"CREATE, UPDATE ON `quipu`.`shard_state`",
		},
		AccountRebuild: {
			"PROCESS, RELOAD, CONNECTION ADMIN, READ_ONLY ADMIN, BINLOG ADMIN, BINLOG MONITOR, REPLICA MONITOR, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, SET USER ON *.*",
			"ALL PRIVILEGES ON `quipu`.*",
			"ALL PRIVILEGES ON `analytics`.*",
		},
	}
}

// limits bounds what people can ask of a server that others depend on.
func limits(account Account) string {
	if account == AccountAnalyst {
		return "MAX_USER_CONNECTIONS 20 MAX_STATEMENT_TIME 60"
	}
	return "MAX_USER_CONNECTIONS 0 MAX_STATEMENT_TIME 0"
}

// ConfigureAccounts makes the two schemas and all accounts, or sets them right.
// It writes to the binary log, so call it on the primary: its replicas follow.
// Repeating it changes nothing.
func ConfigureAccounts(ctx context.Context, primary *MariaDB, passwords Passwords) error {
	root, err := primary.rootConnection(ctx)
	if err != nil {
		return fmt.Errorf("configure accounts of %s: %w", primary.Name(), err)
	}
	defer root.Close()
	for _, schema := range []string{SchemaCounts, SchemaAnalytics} {
		_, err := root.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS `"+schema+"` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
		if err != nil {
			return fmt.Errorf("create schema %s on %s: %w", schema, primary.Name(), err)
		}
	}
	for _, account := range Accounts() {
		if err := primary.configureAccount(ctx, root, account, passwords[account]); err != nil {
			return fmt.Errorf("configure account %s on %s: %w", account, primary.Name(), err)
		}
	}
	return nil
}

func (m *MariaDB) configureAccount(ctx context.Context, root *sql.Conn, account Account, password string) error {
	if password == "" {
		return ErrNoPassword
	}
	user := fmt.Sprintf("'%s'@'%s'", account, accountHost)
	identified := user + " IDENTIFIED BY ? WITH " + m.limitsOn(account)
	if _, err := root.ExecContext(ctx, "CREATE USER IF NOT EXISTS "+identified, password); err != nil {
		return err
	}
	if _, err := root.ExecContext(ctx, "ALTER USER "+identified, password); err != nil {
		return err
	}
	for _, grant := range m.grantsOn(account) {
		if _, err := root.ExecContext(ctx, "GRANT "+grant+" TO "+user); err != nil {
			return err
		}
	}
	return m.grantDefiner(ctx, root, account, user)
}

// DSN is the data source name, for go-sql-driver/mysql, of an account on a
// schema; an empty schema selects none. Times are UTC both ways.
func (m *MariaDB) DSN(account Account, password, schema string) string {
	config := mysql.NewConfig()
	config.User, config.Passwd = string(account), password
	config.Net, config.Addr, config.DBName = "tcp", m.Address(), schema
	config.ParseTime, config.Loc = true, time.UTC
	config.Timeout = 5 * time.Second
	config.Collation = "utf8mb4_bin"
	return config.FormatDSN()
}

// rootConnection is one connection of root's, or an error if the server is down.
func (m *MariaDB) rootConnection(ctx context.Context) (*sql.Conn, error) {
	root := m.Root()
	if root == nil {
		return nil, errors.New("the server was never started")
	}
	return root.Conn(ctx)
}
