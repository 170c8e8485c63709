package local_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// denied are the server's codes for "you may not".
var denied = []uint16{1044, 1045, 1142, 1227, 1410}

func TestAccountsMayWhatTheyNeedAndNoMore(t *testing.T) {
	t.Parallel()
	db := testkit.MariaDB(t)
	execAll(t, db.Open(t, local.AccountMigrate),
		"CREATE TABLE counted_keys (id BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT, name VARCHAR(255))",
		"CREATE TABLE checkpoints (partition_id INT PRIMARY KEY, next_offset BIGINT)",
		"INSERT INTO checkpoints VALUES (1, 1)",
		`CREATE TABLE minute_counts (key_id BIGINT, start DATETIME, event_count BIGINT, PRIMARY KEY (key_id, start))
		 PARTITION BY RANGE COLUMNS (start) (PARTITION p0 VALUES LESS THAN ('2026-01-01'))`,
		"CREATE TABLE late_hour_counts (key_id BIGINT)", "CREATE TABLE archive_intents (object INT)", "CREATE TABLE archive_marks (version INT)",
		"CREATE SQL SECURITY DEFINER VIEW analytics.counts AS SELECT start, event_count FROM quipu.minute_counts",
		"CREATE TABLE scratch (id INT)", "ALTER TABLE scratch ADD COLUMN n INT", "DROP TABLE scratch",
	)
	// In order: later statements use what earlier ones made.
	for _, test := range []struct {
		account   local.Account
		statement string
		allowed   bool
	}{
		{local.AccountApply, "ALTER TABLE minute_counts ADD PARTITION (PARTITION p1 VALUES LESS THAN ('2027-01-01'))", true},
		{local.AccountApply, "INSERT INTO minute_counts VALUES (1, '2026-05-01', 1) ON DUPLICATE KEY UPDATE event_count = event_count + VALUES(event_count)", true},
		{local.AccountApply, "INSERT IGNORE INTO counted_keys (name) VALUES ('a')", true},
		{local.AccountApply, "UPDATE checkpoints SET next_offset = 2 WHERE partition_id = 1 AND next_offset = 1", true},
		{local.AccountApply, "SELECT next_offset FROM checkpoints LOCK IN SHARE MODE", true},
		{local.AccountApply, "SELECT GET_LOCK('x', 0)", true},
		{local.AccountApply, "ALTER TABLE minute_counts DROP PARTITION p0", true},
		{local.AccountApply, "DELETE FROM minute_counts", false},
		{local.AccountApply, "DELETE FROM checkpoints", false},
		{local.AccountApply, "DELETE FROM late_hour_counts WHERE key_id = 1 LIMIT 5", true},
		{local.AccountApply, "DELETE FROM archive_intents", true},
		{local.AccountApply, "DELETE FROM archive_marks", false},
		{local.AccountApply, "DROP TABLE late_hour_counts", false},
		{local.AccountApply, "ALTER TABLE counted_keys ADD COLUMN n INT", false},
		{local.AccountApply, "DROP TABLE checkpoints", false},
		{local.AccountApply, "CREATE TABLE other (id INT)", false},
		{local.AccountApply, "SELECT * FROM mysql.global_priv", false},
		{local.AccountApply, "SET GLOBAL read_only = ON", false},

		{local.AccountRead, "SELECT event_count FROM minute_counts", true},
		{local.AccountRead, "SET STATEMENT max_statement_time = 1 FOR SELECT COUNT(*) FROM minute_counts", true},
		{local.AccountRead, "INSERT INTO counted_keys (name) VALUES ('b')", false},
		{local.AccountRead, "UPDATE checkpoints SET next_offset = 9", false},
		{local.AccountRead, "SELECT * FROM analytics.counts", false},

		{local.AccountAnalyst, "SELECT event_count FROM counts", true},
		{local.AccountAnalyst, "SHOW CREATE VIEW counts", true},
		{local.AccountAnalyst, "SELECT event_count FROM quipu.minute_counts", false},
		{local.AccountAnalyst, "SELECT * FROM quipu.checkpoints", false},
		{local.AccountAnalyst, "CREATE TABLE analytics.mine (id INT)", false},
		{local.AccountAnalyst, "DELETE FROM counts", false},
		{local.AccountAnalyst, "SHOW BINARY LOGS", false},

		{local.AccountMonitor, "SHOW SLAVE STATUS", true},
		{local.AccountMonitor, "SHOW BINARY LOGS", true},
		{local.AccountMonitor, "SHOW FULL PROCESSLIST", true},
		{local.AccountMonitor, "SELECT @@GLOBAL.gtid_binlog_pos", true},
		{local.AccountMonitor, "SELECT next_offset FROM checkpoints", true},
		{local.AccountMonitor, "UPDATE checkpoints SET next_offset = 9", false},
		{local.AccountMonitor, "STOP SLAVE", false},

		{local.AccountMigrate, "CREATE OR REPLACE SQL SECURITY DEFINER VIEW analytics.counts AS SELECT start FROM quipu.minute_counts", true},
		{local.AccountMigrate, "DELETE FROM checkpoints", true},
		{local.AccountMigrate, "CREATE DATABASE other", false},
		{local.AccountMigrate, "GRANT SELECT ON quipu.* TO quipu_analyst@127.0.0.1", false},
		{local.AccountMigrate, "CREATE USER mallory", false},

		{local.AccountFailover, "SELECT next_offset FROM checkpoints", true},
		{local.AccountFailover, "SET GLOBAL read_only = OFF", true},
		{local.AccountFailover, "STOP SLAVE", true},
		{local.AccountFailover, "RESET SLAVE ALL", true},
		{local.AccountFailover, "SHOW PROCESSLIST", true},
		{local.AccountFailover, "UPDATE checkpoints SET next_offset = 9", false},
		{local.AccountFailover, "INSERT INTO counted_keys (name) VALUES ('b')", false},
		{local.AccountFailover, "SET SESSION sql_log_bin = 0", false},
		{local.AccountFailover, "DROP TABLE checkpoints", false},
		{local.AccountFailover, "CREATE USER mallory", false},

		{local.AccountRebuild, "SET SESSION sql_log_bin = 0", true},
		{local.AccountRebuild, "CREATE DATABASE other", false},
		{local.AccountRebuild, "CREATE USER mallory", false},

		{local.AccountReplicate, "SELECT * FROM quipu.minute_counts", false},
		{local.AccountReplicate, "SHOW SLAVE STATUS", false},
	} {
		_, err := db.Open(t, test.account).ExecContext(t.Context(), test.statement)
		var refusal *mysql.MySQLError
		switch {
		case test.allowed && err != nil:
			t.Errorf("%s may not %s: %v", test.account, test.statement, err)
		case !test.allowed && err == nil:
			t.Errorf("%s may %s", test.account, test.statement)
		case !test.allowed && (!errors.As(err, &refusal) || !slices.Contains(denied, refusal.Number)):
			t.Errorf("%s, %s: %v, want a refusal for want of rights", test.account, test.statement, err)
		}
	}
}

func TestAccountsNeedTheirPassword(t *testing.T) {
	t.Parallel()
	db := testkit.MariaDB(t)
	old := db.Passwords
	db.Passwords = local.NewPasswords()
	for _, account := range local.Accounts() {
		if err := db.Open(t, account).PingContext(t.Context()); err == nil {
			t.Errorf("%s was let in with a wrong password", account)
		}
	}
	// Configuring again changes passwords, and does no harm when nothing changed.
	for range 2 {
		if err := local.ConfigureAccounts(t.Context(), db.MariaDB, db.Passwords); err != nil {
			t.Fatal(err)
		}
	}
	for _, account := range local.Accounts() {
		if err := db.Open(t, account).PingContext(t.Context()); err != nil {
			t.Errorf("%s with its new password: %v", account, err)
		}
	}
	delete(old, local.AccountApply)
	if err := local.ConfigureAccounts(t.Context(), db.MariaDB, old); !errors.Is(err, local.ErrNoPassword) {
		t.Errorf("without a password: %v, want ErrNoPassword", err)
	}
}

func TestAnalystIsBounded(t *testing.T) {
	t.Parallel()
	db := testkit.MariaDB(t)
	if got := query(t, db.Open(t, local.AccountAnalyst), "SELECT @@SESSION.max_statement_time"); got != "60" {
		t.Errorf("an analyst's statement may take %s s, want 60", got)
	}
}

func TestPasswordsAreKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cluster", "passwords.json")
	first, err := local.OpenPasswords(path)
	if err != nil {
		t.Fatal(err)
	}
	distinct := map[string]bool{}
	for _, account := range local.Accounts() {
		distinct[first[account]] = true
	}
	if len(distinct) != len(local.Accounts()) || distinct[""] {
		t.Errorf("%d different passwords for %d accounts", len(distinct), len(local.Accounts()))
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("the file's mode is %v, want it to be its owner's alone", got)
	}
	second, err := local.OpenPasswords(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error("the passwords changed")
	}

	// A file from a version that knew fewer accounts.
	if err := os.WriteFile(path, []byte(`{"quipu_read": "old"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	third, err := local.OpenPasswords(path)
	if err != nil || third[local.AccountRead] != "old" || third[local.AccountApply] == "" {
		t.Errorf("the old file became %d passwords, %v; want the old one kept and the others drawn", len(third), err)
	}
	if fourth, err := local.OpenPasswords(path); err != nil || !cmp.Equal(third, fourth) {
		t.Errorf("what was drawn was not kept: %v", err)
	}
}
