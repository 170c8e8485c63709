package mysql

import (
	"strings"
	"testing"
	"time"
)

func TestDialectFollowsTheServersVersion(t *testing.T) {
	for version, want := range map[string]string{
		"10.11.19-MariaDB-0+deb12u1": "mariadb", "11.4.2-MariaDB-log": "mariadb", "5.5.5-10.6.1-MariaDB": "mariadb", "8.0.36": "mysql", "8.4.0-commercial": "mysql",
	} {
		if got := dialectOf(version).name(); got != want {
			t.Errorf("%s: got %s, want %s", version, got, want)
		}
	}
}

func TestDialectsSayTheSameInTheirWords(t *testing.T) {
	settings := sessionSettings{readOnly: true, statement: 1500 * time.Millisecond, lockWait: 2 * time.Second, idle: 30 * time.Second}
	for _, test := range []struct {
		dialect
		limited, isolation, statement string
	}{
		{mariadb{}, "SET STATEMENT max_statement_time=1.500 FOR SELECT 1", "tx_isolation='REPEATABLE-READ', tx_read_only=1", "max_statement_time=1.500"},
		{mysql8{}, "SELECT /*+ MAX_EXECUTION_TIME(1500) */ 1", "transaction_isolation='REPEATABLE-READ', transaction_read_only=1", "max_execution_time=1500"},
	} {
		if got := test.limit(1500*time.Millisecond, "1"); got != test.limited {
			t.Errorf("%s: got %s, want %s", test.name(), got, test.limited)
		}
		session := strings.Join(test.session(settings), "; ")
		for _, want := range []string{test.isolation, test.statement, "STRICT_ALL_TABLES", "time_zone='+00:00'", "innodb_lock_wait_timeout=2"} {
			if !strings.Contains(session, want) {
				t.Errorf("%s: session %s lacks %s", test.name(), session, want)
			}
		}
		if got := test.limit(time.Microsecond, "1"); strings.Contains(got, "=0.000 ") || strings.Contains(got, "(0)") {
			t.Errorf("%s: %s would be no limit at all", test.name(), got)
		}
	}
}

// The statement that begins a server's history anew has another name since 8.2, and only that one since 8.4.
func TestRestartFollowsTheServersVersion(t *testing.T) {
	for version, want := range map[string]string{
		"10.11.19-MariaDB": "RESET MASTER", "8.0.22": "RESET MASTER", "8.0.43-log": "RESET MASTER",
		"8.2.0": "RESET BINARY LOGS AND GTIDS", "8.4.6": "RESET BINARY LOGS AND GTIDS", "9.7.4-2": "RESET BINARY LOGS AND GTIDS",
	} {
		if got := dialectOf(version).restart(Held{})[0].text; got != want {
			t.Errorf("%s: got %s, want %s", version, got, want)
		}
	}
}
