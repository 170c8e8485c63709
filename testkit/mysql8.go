package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// MySQL8Variable names the environment variable that holds the path of a mysqld, 8.0.22 or newer, to run tests on instead of MariaDB.
const MySQL8Variable = "QUIPU_TEST_MYSQLD8"

// MySQL8 is that path, empty for MariaDB.
func MySQL8() (string, error) {
	given := os.Getenv(MySQL8Variable)
	if given == "" {
		return "", nil
	}
	path, err := exec.LookPath(given)
	if err != nil {
		return "", fmt.Errorf("%s: %w", MySQL8Variable, err)
	}
	return filepath.Abs(path)
}

// OnMariaDB skips a test of what only MariaDB does when the tests run on MySQL. It says what that is.
func OnMariaDB(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(MySQL8Variable) != "" {
		t.Skipf("of MariaDB only: %s", what)
	}
}

// inMySQL are MySQL's words for MariaDB's.
var inMySQL = strings.NewReplacer(
	"STOP SLAVE", "STOP REPLICA", "START SLAVE", "START REPLICA", "RESET SLAVE", "RESET REPLICA", "tx_isolation", "transaction_isolation",
)

// Speak turns a statement in MariaDB's words into those of the server that the tests run on.
func Speak(statement string) string {
	if os.Getenv(MySQL8Variable) == "" {
		return statement
	}
	return inMySQL.Replace(statement)
}

// Numbers is a derived table of the numbers 1 to n, at most 10,000, in the column seq.
func Numbers(n int) string {
	const digits = "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4" +
		" UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
	return fmt.Sprintf("(SELECT a.d + 10*b.d + 100*c.d + 1000*e.d + 1 AS seq FROM %[1]s a, %[1]s b, %[1]s c, %[1]s e HAVING seq <= %[2]d)", digits, n)
}
