package mysql

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// dialect is what differs between the two servers.
type dialect interface {
	name() string
	// session returns the statements that prepare a new connection.
	session(s sessionSettings) []string
	// limit wraps the statement that a SELECT makes, so that the server ends it after d. The SELECT stands without its keyword.
	limit(d time.Duration, selected string) string
	// sessionLimit is the statement that has the server end every later SELECT of the session after d.
	sessionLimit(d time.Duration) string
	// sight selects the server's number of what a connection runs, and how many rows that has examined, if its text begins with a mark.
	sight(connection uint64, mark string) string
	// kill is the statement that ends what a connection runs; number is what sight found.
	kill(connection, number uint64) string
	// returning tells whether INSERT … RETURNING answers with what was inserted.
	returning() bool
	// replicaStatus is the statement that tells how a replica is doing.
	replicaStatus() string
	// replicaColumns names the columns of replicaStatus.
	replicaColumns() replicaColumns

	replicator
}

// sessionSettings is what every connection of a pool is set to.
type sessionSettings struct {
	readOnly  bool
	statement time.Duration // longest statement
	lockWait  time.Duration // longest wait for a row or a table
	idle      time.Duration // longest pause within a transaction
}

type replicaColumns struct{ receiving, applying, behind, receiveError, applyError string }

// sqlMode makes a value that does not fit an error.
const sqlMode = "STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"

// dialectOf tells the dialect from what SELECT VERSION() says.
func dialectOf(version string) dialect {
	if strings.Contains(strings.ToLower(version), "mariadb") {
		return mariadb{}
	}
	return mysql8{renamed: atLeast(version, 8, 2)}
}

// atLeast compares the first two numbers of a version.
func atLeast(version string, major, minor int) bool {
	var has [2]int
	_, _ = fmt.Sscanf(version, "%d.%d", &has[0], &has[1]) // what can't be read is old
	return has[0] > major || has[0] == major && has[1] >= minor
}

func isolation(readOnly bool) string {
	if readOnly {
		return "REPEATABLE-READ" // a transaction of reads is one snapshot
	}
	return "READ-COMMITTED"
}

func onOff(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

func wholeSeconds(d time.Duration) int64 { return max(1, int64((d+time.Second-1)/time.Second)) }

func commonSettings(s sessionSettings) string {
	return fmt.Sprintf("SET SESSION sql_mode='%s', time_zone='+00:00', innodb_lock_wait_timeout=%d, lock_wait_timeout=%d",
		sqlMode, wholeSeconds(s.lockWait), wholeSeconds(s.lockWait))
}

type mariadb struct{}

func (mariadb) name() string { return "mariadb" }

func (mariadb) session(s sessionSettings) []string {
	return []string{fmt.Sprintf("%s, tx_isolation='%s', tx_read_only=%s, max_statement_time=%s, idle_transaction_timeout=%d",
		commonSettings(s), isolation(s.readOnly), onOff(s.readOnly), seconds(s.statement), wholeSeconds(s.idle))}
}

func (mariadb) limit(d time.Duration, selected string) string {
	return "SET STATEMENT max_statement_time=" + seconds(d) + " FOR SELECT " + selected
}

func (mariadb) sessionLimit(d time.Duration) string {
	return "SET SESSION max_statement_time=" + seconds(d)
}

func (mariadb) sight(connection uint64, mark string) string {
	return sightOf("QUERY_ID, EXAMINED_ROWS", connection, mark)
}

// kill names the statement itself: should it end meanwhile, nothing is killed.
func (mariadb) kill(_, number uint64) string { return fmt.Sprintf("KILL QUERY ID %d", number) }

func sightOf(columns string, connection uint64, mark string) string {
	return fmt.Sprintf("SELECT %s FROM information_schema.PROCESSLIST WHERE ID = %d AND LEFT(INFO, %d) = '%s'", columns, connection, len(mark), mark)
}

func (mariadb) returning() bool { return true }

func (mariadb) replicaStatus() string { return "SHOW REPLICA STATUS" }

func (mariadb) replicaColumns() replicaColumns {
	return replicaColumns{"Slave_IO_Running", "Slave_SQL_Running", "Seconds_Behind_Master", "Last_IO_Error", "Last_SQL_Error"}
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(max(d, time.Millisecond).Seconds(), 'f', 3, 64)
}

// mysql8 limits reads only: the server offers no limit for other statements, so their locks' waits are bounded instead.
type mysql8 struct {
	renamed bool // 8.2 and newer: RESET MASTER has another name, and from 8.4 on only that
}

func (mysql8) name() string { return "mysql" }

func (mysql8) session(s sessionSettings) []string {
	return []string{fmt.Sprintf("%s, transaction_isolation='%s', transaction_read_only=%s, max_execution_time=%d",
		commonSettings(s), isolation(s.readOnly), onOff(s.readOnly), max(1, s.statement.Milliseconds()))}
}

func (mysql8) limit(d time.Duration, selected string) string {
	return "SELECT /*+ MAX_EXECUTION_TIME(" + strconv.FormatInt(max(1, d.Milliseconds()), 10) + ") */ " + selected
}

func (mysql8) sessionLimit(d time.Duration) string {
	return fmt.Sprintf("SET SESSION max_execution_time=%d", max(1, d.Milliseconds()))
}

func (mysql8) sight(connection uint64, mark string) string { return sightOf("0, -1", connection, mark) }

// kill names the connection. It is not used for another statement until the reply to this one has come.
func (mysql8) kill(connection, _ uint64) string { return fmt.Sprintf("KILL QUERY %d", connection) }

func (mysql8) returning() bool { return false }

func (mysql8) replicaStatus() string { return "SHOW REPLICA STATUS" }

func (mysql8) replicaColumns() replicaColumns {
	return replicaColumns{"Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source", "Last_IO_Error", "Last_SQL_Error"}
}
