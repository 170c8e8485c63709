package mysql_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

func table(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for rows.Next() {
		values, targets := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, v := range values {
			if !v.Valid {
				v.String = "-"
			}
			texts = append(texts, v.String)
		}
		all = append(all, strings.Join(texts, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// What analysts read on the replica, by name, is what was counted, at every resolution and across the watermarks.
func TestAnalystsReadTheViewsOnTheReplica(t *testing.T) {
	b := newBench(t, shared)
	title, owner := "Video One", "Ann"
	if _, err := b.primary.ImportKeys(t.Context(), []mysql.KeyAttributes{{Partition: 3, Name: "v1", Title: &title, Owner: &owner}}); err != nil {
		t.Fatal(err)
	}
	undo := event.Type{Name: "like", AllowNegative: true}
	if err := b.primary.RegisterType(t.Context(), undo); err != nil {
		t.Fatal(err)
	}
	epoch := b.claim(t, 3)
	liked := measured("v1", minute(12, 0), -1, 9)
	liked.Type = "like"
	r := request(epoch, 1, 2,
		measured("v1", minute(9, 30), 2, 10), counted("v1", minute(9, 31), 5), measured("v1", minute(12, 0), 1, 4), counted("v1", minute(0, 0)-1, 7),
		counted("v2", minute(12, 1), 3), liked)
	asOf := time.Date(2025, 11, 20, 12, 5, 0, 250e6, time.UTC)
	r.AsOf = asOf.UnixMilli()
	b.apply(t, r)
	other := request(b.claim(t, 4), 1, 2, counted("gone", minute(12, 0), 1))
	other.Partition = 4
	b.apply(t, other)
	b.exec(t, "UPDATE quipu.checkpoints SET owned = FALSE WHERE partition_id = 4")
	b.exec(t, "UPDATE quipu.checkpoints SET as_of = ? WHERE partition_id <> 3", asOf.UnixMilli()+1)
	shared.AwaitReplica(t)

	analyst := shared.Replica.Open(t, local.AccountAnalyst)
	for view, want := range map[string][]string{
		"counts_per_minute": {
			"like|v1|Video One|Ann|2025-11-20 12:00:00|-1|-1|-9|9.0000|-|-",
			"view|v1|Video One|Ann|2025-11-19 23:59:00|7|-|-|-|-|-",
			"view|v1|Video One|Ann|2025-11-20 09:30:00|2|2|20|10.0000|10|10",
			"view|v1|Video One|Ann|2025-11-20 09:31:00|5|-|-|-|-|-",
			"view|v1|Video One|Ann|2025-11-20 12:00:00|1|1|4|4.0000|4|4",
			"view|v2|-|-|2025-11-20 12:01:00|3|-|-|-|-|-",
		},
		"counts_per_hour": {
			"like|v1|Video One|Ann|2025-11-20 12:00:00|-1|-1|-9|9.0000|-|-",
			"view|v1|Video One|Ann|2025-11-19 23:00:00|7|-|-|-|-|-",
			"view|v1|Video One|Ann|2025-11-20 09:00:00|7|2|20|10.0000|10|10",
			"view|v1|Video One|Ann|2025-11-20 12:00:00|1|1|4|4.0000|4|4",
			"view|v2|-|-|2025-11-20 12:00:00|3|-|-|-|-|-",
		},
		"counts_per_day": {
			"like|v1|Video One|Ann|2025-11-20 00:00:00|-1|-1|-9|9.0000|-|-",
			"view|v1|Video One|Ann|2025-11-19 00:00:00|7|-|-|-|-|-",
			"view|v1|Video One|Ann|2025-11-20 00:00:00|8|3|24|8.0000|4|10",
			"view|v2|-|-|2025-11-20 00:00:00|3|-|-|-|-|-",
		},
	} {
		got := table(t, analyst, "SELECT event_type, counted_key, title, owner, CAST(start AS CHAR(19)), event_count, value_count, value_sum, value_avg, value_min, value_max FROM "+view+" ORDER BY 1, 2, 5")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", view, diff)
		}
	}
	if diff := cmp.Diff([]string{"like||", "view|ms|somebody watched"}, table(t, analyst, "SELECT * FROM event_types ORDER BY 1")); diff != "" {
		t.Errorf("event_types (-want +got):\n%s", diff)
	}
	got := table(t, analyst, "SELECT CAST(counted_before AS CHAR), seconds_behind > 0 FROM freshness")
	if diff := cmp.Diff([]string{"2025-11-20 12:05:00.250000|1"}, got); diff != "" {
		t.Errorf("freshness (-want +got):\n%s", diff)
	}
}

// Analysts see what still changes, and what was brought back with what was added to it since, one row each; the rest is told by retention.
func TestAnalystsSeeWhatIsKeptOrRestored(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	old := minute(0, 0) - 3*day // the 17th
	b.apply(t, request(epoch, 1, 2, measured("v1", old+5, 1, 10), counted("v1", old+day, 7), counted("v1", minute(9, 30), 2), counted("v1", minute(10, 30), 1)))
	for _, of := range []string{"minute", "hour", "day"} {
		b.exec(t, "UPDATE quipu.archive_marks SET frozen_before = '2025-11-19', cold_before = '2025-11-18', late_round = 1, version = 1 WHERE resolution = ?", of)
		b.exec(t, "INSERT INTO quipu.restored_ranges (resolution, range_start, range_end, state, changed_at) VALUES (?, '2025-11-17', '2025-11-18', 'ready', '2025-11-20'), (?, '2025-11-10', '2025-11-12', 'loading', '2025-11-20')", of, of)
		b.exec(t, fmt.Sprintf("INSERT INTO quipu.restored_%[1]s_counts SELECT * FROM quipu.%[1]s_counts WHERE start < '2025-11-18'", of))
		b.exec(t, fmt.Sprintf("DELETE FROM quipu.%s_counts WHERE start < '2025-11-18'", of))
	}
	b.apply(t, request(epoch, 2, 3, measured("v1", old+5, 2, 4), counted("v1", old+6, 5), counted("v2", old+6, 3), counted("v1", old-6*day, 100)))
	for _, of := range []string{"minute", "hour", "day"} {
		b.exec(t, "UPDATE quipu.archive_marks SET late_round = 2 WHERE resolution = ?", of)
	}
	b.apply(t, request(epoch, 3, 4, counted("v1", old+5, 1), counted("v1", old+6, 1)))
	shared.AwaitReplica(t)
	analyst := shared.Replica.Open(t, local.AccountAnalyst)
	for view, want := range map[string][]string{
		"counts_per_minute": {
			"v1|2025-11-17 00:05:00|4|3|18|6.0000|4|10", "v1|2025-11-17 00:06:00|6|-|-|-|-|-", "v1|2025-11-20 09:30:00|2|-|-|-|-|-", "v1|2025-11-20 10:30:00|1|-|-|-|-|-", "v2|2025-11-17 00:06:00|3|-|-|-|-|-",
		},
		"counts_per_hour": {
			"v1|2025-11-17 00:00:00|10|3|18|6.0000|4|10", "v1|2025-11-20 09:00:00|2|-|-|-|-|-", "v1|2025-11-20 10:00:00|1|-|-|-|-|-", "v2|2025-11-17 00:00:00|3|-|-|-|-|-",
		},
		"counts_per_day": {"v1|2025-11-17 00:00:00|10|3|18|6.0000|4|10", "v1|2025-11-20 00:00:00|3|-|-|-|-|-", "v2|2025-11-17 00:00:00|3|-|-|-|-|-"},
	} {
		got := table(t, analyst, "SELECT counted_key, CAST(start AS CHAR(19)), event_count, value_count, value_sum, value_avg, value_min, value_max FROM "+view+" ORDER BY 1, 2")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", view, diff)
		}
	}
	got := table(t, analyst, "SELECT * FROM retention WHERE resolution = 'hour'")
	if diff := cmp.Diff([]string{"hour|2025-11-19T00:00:00Z|2025-11-18T00:00:00Z"}, got); diff != "" {
		t.Errorf("retention (-want +got):\n%s", diff)
	}
}

// A question for one key reads that key's rows, not everybody's, restored and late ones included.
func TestViewsFindOneKey(t *testing.T) {
	b := newBench(t, shared)
	b.apply(t, request(b.claim(t, 3), 1, 2, counted("k0", minute(9, 30), 2)))
	const keys, each = 2000, 20
	b.exec(t, "INSERT INTO quipu.counted_keys (partition_id, name) SELECT 3, CONCAT('k', seq) FROM "+testkit.Numbers(keys)+" n")
	for _, of := range []struct{ table, start, more string }{
		{"minute_counts", "'2025-11-20 10:00' + INTERVAL s.seq MINUTE", ""},
		{"hour_counts", "'2025-11-19' + INTERVAL s.seq HOUR", ""},
		{"day_counts", "'2025-10-01' + INTERVAL s.seq DAY", ""},
		{"restored_minute_counts", "'2025-10-20 10:00' + INTERVAL s.seq MINUTE", ""},
		{"late_minute_counts", "'2025-10-20 10:00' + INTERVAL s.seq MINUTE", ", 1"},
		{"restored_hour_counts", "'2025-10-20' + INTERVAL s.seq HOUR", ""},
		{"late_hour_counts", "'2025-10-20' + INTERVAL s.seq HOUR", ", 1"},
	} {
		b.exec(t, fmt.Sprintf("INSERT INTO quipu.%s SELECT k.id, 1, %s%s, 1, NULL, NULL, NULL, NULL FROM quipu.counted_keys k JOIN %s s WHERE k.name <> 'k0'", of.table, of.start, of.more, testkit.Numbers(20)))
	}
	b.exec(t, "INSERT INTO quipu.restored_ranges (resolution, range_start, range_end, state, changed_at) VALUES ('minute', '2025-10-20', '2025-10-21', 'ready', '2025-11-20'), ('hour', '2025-10-20', '2025-10-22', 'ready', '2025-11-20')")
	b.exec(t, "UPDATE quipu.archive_marks SET frozen_before = '2025-11-01', cold_before = '2025-11-01', version = 1 WHERE resolution <> 'day'")
	b.exec(t, "ANALYZE TABLE quipu.minute_counts, quipu.hour_counts, quipu.day_counts, quipu.counted_keys, quipu.restored_minute_counts, quipu.late_minute_counts, quipu.restored_hour_counts, quipu.late_hour_counts")
	db := b.servers.Primary.Open(t, local.AccountAnalyst)
	db.SetMaxOpenConns(1)
	for view, want := range map[string]int{"counts_per_minute": 2 * each, "counts_per_hour": 2*each + 1, "counts_per_day": each + 1} {
		read := func() (n int) {
			t.Helper()
			rows, err := db.Query("SHOW SESSION STATUS LIKE 'Handler_read%'")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				var reads int
				if err := rows.Scan(&name, &reads); err != nil {
					t.Fatal(err)
				}
				n += reads
			}
			return n
		}
		before := read()
		got := table(t, db, "SELECT start, event_count FROM "+view+" WHERE event_type = 'view' AND counted_key = 'k77'")
		if n := read() - before; len(got) != want || n > keys*each/10 {
			t.Errorf("%s: %d rows, want %d; %d reads of an index or a table of %d rows", view, len(got), want, n, keys*each)
		}
	}
}

// The analyst's account reads the views and nothing else, and writes nowhere.
func TestAnalystSeesTheViewsAndNothingElse(t *testing.T) {
	newBench(t, shared)
	shared.AwaitReplica(t)
	for name, db := range map[string]*sql.DB{
		"replica": shared.Replica.Open(t, local.AccountAnalyst), "primary": shared.Primary.Open(t, local.AccountAnalyst),
	} {
		want := []string{"counts_per_day", "counts_per_hour", "counts_per_minute", "event_types", "freshness", "retention"}
		if diff := cmp.Diff(want, table(t, db, "SHOW TABLES")); diff != "" {
			t.Errorf("%s: tables (-want +got):\n%s", name, diff)
		}
		for _, column := range table(t, db, "SELECT column_name FROM information_schema.columns WHERE table_schema = 'analytics'") {
			if strings.HasSuffix(column, "_id") || column == "epoch" || strings.Contains(column, "offset") || strings.Contains(column, "partition") {
				t.Errorf("%s: the views show %s", name, column)
			}
		}
		for _, table := range []string{"checkpoints", "minute_counts", "counted_keys", "shard_state", "schema_migrations", "migration_history"} {
			if _, err := db.Exec("SELECT * FROM quipu." + table); err == nil || !strings.Contains(err.Error(), "denied") {
				t.Errorf("%s: reading quipu.%s: got %v, want access denied", name, table, err)
			}
		}
		for _, statement := range []string{
			"UPDATE event_types SET unit = 'x'", "DELETE FROM counts_per_minute", "INSERT INTO event_types (event_type, unit, description) VALUES ('x', '', '')",
			"CREATE TABLE analytics.t (id INT)", "DROP VIEW freshness", "CREATE OR REPLACE VIEW freshness AS SELECT 1", "SET GLOBAL read_only = OFF", "SELECT * FROM mysql.user",
		} {
			if _, err := db.Exec(statement); err == nil {
				t.Errorf("%s: %s was allowed", name, statement)
			}
		}
	}
}

// The accounts of the roles can do what they need and not what they don't.
func TestAccountsHaveLeastPrivilege(t *testing.T) {
	b := newBench(t, shared)
	for account, statements := range map[local.Account][]string{
		local.AccountRead: {"UPDATE quipu.checkpoints SET epoch = 9", "DELETE FROM quipu.minute_counts", "ALTER TABLE quipu.minute_counts ADD COLUMN x INT"},
		local.AccountApply: {
			"DELETE FROM quipu.counted_keys", "DROP TABLE quipu.checkpoints", "ALTER TABLE quipu.checkpoints ADD COLUMN x INT",
			"CREATE TABLE quipu.x (id INT)", "SET GLOBAL read_only = ON",
		},
		local.AccountMonitor: {"UPDATE quipu.checkpoints SET epoch = 9"},
	} {
		db := shared.Primary.Open(t, account)
		for _, statement := range statements {
			if _, err := db.Exec(statement); err == nil {
				t.Errorf("%s: %s was allowed", account, statement)
			}
		}
	}
	b.claim(t, 3)
	if _, err := pool(t, shared.Primary, local.AccountMonitor, nil).Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if fmt.Sprint(b.checkpoint(t, 3).Epoch) != "1" {
		t.Error("the epoch was changed")
	}
}
