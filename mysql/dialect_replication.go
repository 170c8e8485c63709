package mysql

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// replicator is what differs between the two servers in how they replicate and are kept from writing.
type replicator interface {
	// held selects what the server has executed, and what its binary log has seen of each server.
	held() string
	// sourceStatus is replicaStatus with all that there is about the source.
	sourceStatus() string
	// heartbeats selects how many signs of life a replica has had of its source while there was nothing to replicate; "" if sourceStatus tells.
	heartbeats() string
	// sourceColumns names the columns of sourceStatus that say whom it follows and how far it has received.
	sourceColumns() sourceColumns
	startApplying() string
	stopApplying() string
	stopReplica() string
	startReplica() string
	forgetSource() string
	// follow points a stopped server at a source, from a position on.
	follow(s Source, from string) []command
	// awaitPosition selects 0 once a position is applied, another number if that takes too long.
	awaitPosition(position string, patience time.Duration) command
	// unbounded ends the bounds of a session's statements and pauses.
	unbounded() []string
	// restart makes an emptied server's history that of a source which it was copied from.
	restart(held Held) []command
}

// command is SQL with its parameters.
type command struct {
	text string
	args []any
}

type sourceColumns struct{ host, port, received, read, state, heartbeats string }

// Source is a server to replicate from.
type Source struct {
	Host     string
	Port     int
	User     string
	Password string
	TLS      bool // encrypted, and its certificate verified
}

// The last of each domain is the later of what was logged and what was replicated: a server that was made from a copy has logged nothing yet.
func (mariadb) held() string {
	return "SELECT CONCAT(@@GLOBAL.gtid_binlog_pos, ',', @@GLOBAL.gtid_slave_pos), @@GLOBAL.gtid_binlog_state"
}

func (mariadb) sourceStatus() string { return "SHOW ALL SLAVES STATUS" }

// heartbeats are not asked of the server's status variables: to read those can change what another session, which makes a backup, reads as its place
// in the log (see copying.snapshot).
func (mariadb) heartbeats() string { return "" }

func (mariadb) sourceColumns() sourceColumns {
	return sourceColumns{"Master_Host", "Master_Port", "Gtid_IO_Pos", "Read_Master_Log_Pos", "Slave_IO_State", "Slave_received_heartbeats"}
}

func (mariadb) startApplying() string { return "START SLAVE SQL_THREAD" }
func (mariadb) stopApplying() string  { return "STOP SLAVE SQL_THREAD" }
func (mariadb) stopReplica() string   { return "STOP SLAVE" }
func (mariadb) startReplica() string  { return "START SLAVE" }
func (mariadb) forgetSource() string  { return "RESET SLAVE ALL" }

func (mariadb) follow(s Source, from string) []command {
	change := `CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_USER = ?, MASTER_PASSWORD = ?,
		MASTER_USE_GTID = slave_pos, MASTER_HEARTBEAT_PERIOD = 1, MASTER_CONNECT_RETRY = 1`
	if s.TLS {
		change += ", MASTER_SSL = 1, MASTER_SSL_VERIFY_SERVER_CERT = 1"
	}
	return []command{{"SET GLOBAL gtid_slave_pos = ?", []any{from}}, {change, []any{s.Host, s.Port, s.User, s.Password}}}
}

func (mariadb) awaitPosition(position string, patience time.Duration) command {
	return command{"SELECT MASTER_GTID_WAIT(?, ?)", []any{position, patience.Seconds()}}
}

func (mariadb) unbounded() []string {
	return []string{"SET SESSION max_statement_time = 0, idle_transaction_timeout = 0, tx_read_only = 0, net_write_timeout = 600"}
}

func (mariadb) restart(held Held) []command {
	return []command{
		{"RESET MASTER", nil},
		{"SET GLOBAL gtid_binlog_state = ?", []any{held.Logged}},
		{"SET GLOBAL gtid_slave_pos = ?", []any{held.Executed}},
	}
}

func (mysql8) held() string {
	return "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_executed"
}

func (d mysql8) sourceStatus() string { return d.replicaStatus() }

func (mysql8) heartbeats() string {
	return "SELECT COALESCE(SUM(COUNT_RECEIVED_HEARTBEATS), 0) FROM performance_schema.replication_connection_status"
}

func (mysql8) sourceColumns() sourceColumns {
	return sourceColumns{"Source_Host", "Source_Port", "Retrieved_Gtid_Set", "Read_Source_Log_Pos", "Replica_IO_State", ""}
}

func (mysql8) startApplying() string { return "START REPLICA SQL_THREAD" }
func (mysql8) stopApplying() string  { return "STOP REPLICA SQL_THREAD" }
func (mysql8) stopReplica() string   { return "STOP REPLICA" }
func (mysql8) startReplica() string  { return "START REPLICA" }
func (mysql8) forgetSource() string  { return "RESET REPLICA ALL" }

// follow needs no position: the server knows what it has executed.
func (mysql8) follow(s Source, _ string) []command {
	change := `CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ?, SOURCE_USER = ?, SOURCE_PASSWORD = ?,
		SOURCE_AUTO_POSITION = 1, SOURCE_HEARTBEAT_PERIOD = 1, SOURCE_CONNECT_RETRY = 1`
	if s.TLS {
		change += ", SOURCE_SSL = 1, SOURCE_SSL_VERIFY_SERVER_CERT = 1"
	} else {
		change += ", GET_SOURCE_PUBLIC_KEY = 1"
	}
	return []command{{change, []any{s.Host, s.Port, s.User, s.Password}}}
}

func (mysql8) awaitPosition(position string, patience time.Duration) command {
	return command{"SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)", []any{position, patience.Seconds()}}
}

func (mysql8) unbounded() []string {
	return []string{"SET SESSION max_execution_time = 0, transaction_read_only = 0, net_write_timeout = 600"}
}

func (d mysql8) restart(held Held) []command {
	reset := "RESET MASTER"
	if d.renamed {
		reset = "RESET BINARY LOGS AND GTIDS"
	}
	return []command{{reset, nil}, {"SET GLOBAL gtid_purged = ?", []any{held.Executed}}}
}

// hostAndPort takes an address of the topology apart.
func hostAndPort(address string) (host string, port int, err error) {
	at := strings.LastIndexByte(address, ':')
	if at < 0 {
		return "", 0, fmt.Errorf("%q is no address", address)
	}
	port, err = strconv.Atoi(address[at+1:])
	return strings.Trim(address[:at], "[]"), port, err
}
