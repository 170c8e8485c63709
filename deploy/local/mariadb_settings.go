package local

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

const (
	mebibyte               = 1 << 20
	defaultBufferPoolBytes = 256 * mebibyte
	defaultRedoLogBytes    = 256 * mebibyte
	defaultMaxConnections  = 300
)

// baseSettings hold for every server and need no knowledge of it.
var baseSettings = map[string]string{
	// Only this machine; who connects is 127.0.0.1 and nothing else.
	"bind_address":      "127.0.0.1",
	"skip_name_resolve": "ON",
	"local_infile":      "OFF",

	// Exact and loud: bytes compare as bytes, times are UTC, bad data is refused.
	"character_set_server":  "utf8mb4",
	"collation_server":      "utf8mb4_bin",
	"default_time_zone":     "+00:00",
	"sql_mode":              "STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
	"transaction_isolation": "READ-COMMITTED",

	// A commit is on disk, in the tables and in the binary log, before it is told.
	"innodb_flush_log_at_trx_commit": "1",
	"sync_binlog":                    "1",
	"innodb_flush_method":            "O_DIRECT",

	// Replication by GTID, whoever is primary: every server has a binary log that
	// is its primary's, and refuses one that has forked.
	"log_bin":                    "binlog",
	"binlog_format":              "ROW",
	"binlog_row_image":           "MINIMAL",
	"binlog_annotate_row_events": "OFF",
	"log_slave_updates":          "ON",
	"gtid_strict_mode":           "ON",
	"relay_log":                  "relaylog",
	"relay_log_recovery":         "ON",
	"slave_net_timeout":          "10",
	"max_binlog_size":            strconv.Itoa(128 * mebibyte),
	"binlog_expire_logs_seconds": strconv.Itoa(3 * 24 * 60 * 60),

	// Nothing waits for ever: not for a row, not for a table, not for a client
	// that froze in the middle of a transaction.
	"innodb_lock_wait_timeout": "10",
	"lock_wait_timeout":        "10",
	"idle_transaction_timeout": "60",
	"max_allowed_packet":       strconv.Itoa(64 * mebibyte),

	"tmp_table_size":         strconv.Itoa(256 * mebibyte),
	"innodb_flush_neighbors": "0",
}

// settings renders the server's my.cnf.
func (m *MariaDB) settings(socket string) []byte {
	c := m.config
	all := maps.Clone(baseSettings)
	maps.Copy(all, map[string]string{
		"datadir":                 m.dataDir(),
		"tmpdir":                  c.Dir, // a server that starts deletes the temporary tables in there, of whatever server they are
		"socket":                  socket,
		"pid_file":                filepath.Join(c.Dir, "mariadbd.pid"),
		"port":                    strconv.Itoa(c.Port),
		"server_id":               strconv.FormatUint(uint64(c.ServerID), 10),
		"read_only":               onOff(c.ReadOnly),
		"innodb_buffer_pool_size": strconv.FormatInt(orDefault(c.BufferPoolBytes, defaultBufferPoolBytes), 10),
		"innodb_log_file_size":    strconv.FormatInt(orDefault(c.RedoLogBytes, defaultRedoLogBytes), 10),
		"max_connections":         strconv.Itoa(orDefault(c.MaxConnections, defaultMaxConnections)),
	})
	if os.Getuid() == 0 {
		all["user"] = "root" // the server refuses to be root unless told so
	}
	maps.Copy(all, c.Settings)
	section := "mariadbd"
	if c.MySQL != "" {
		section, all = "mysqld", mysqlSettings(all)
	}

	var text bytes.Buffer
	fmt.Fprintf(&text, "# Written at every start of %s.\n[%s]\n", c.Name, section)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s=%s\n", name, all[name])
	}
	return text.Bytes()
}

// absolute is the path as seen from anywhere. A path that can't be resolved
// stays as it is; the server, whose working folder differs, then says so.
func absolute(path string) string {
	if resolved, err := filepath.Abs(path); err == nil {
		return resolved
	}
	return path
}

func onOff(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}

func orDefault[T int | int64](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}
