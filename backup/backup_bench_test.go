package backup_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/quipudb/quipu/backup"
	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/testkit"
)

// BenchmarkBackup backs up and restores a database of two million rows as counts have them, to and from a folder.
func BenchmarkBackup(b *testing.B) {
	db := testkit.MariaDB(b)
	for _, statement := range append(tables()[:7:7],
		"CREATE TABLE quipu.minutes (key_id BIGINT, type SMALLINT, start DATETIME, n BIGINT, v DECIMAL(38,0), PRIMARY KEY (key_id, type, start))",
		"INSERT INTO quipu.minutes SELECT seq DIV 20, 1, '2026-11-22' + INTERVAL seq MOD 20 MINUTE, seq MOD 7, seq * 31 MOD 10007 FROM quipu.seq_1_to_2000000") {
		if _, err := db.Root().ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	var create, restore time.Duration
	var size, stored int64
	for b.Loop() {
		store, err := blob.Open(b.Context(), blob.Config{URL: filepath.Join(b.TempDir(), "cold")})
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		made, err := backup.Create(b.Context(), backup.CreateConfig{Store: store, Source: source(db)})
		if err != nil {
			b.Fatal(err)
		}
		create += time.Since(begun)
		begun = time.Now()
		if _, err := backup.Restore(b.Context(), backup.RestoreConfig{Store: store, Backup: made, Into: filepath.Join(b.TempDir(), "data"), Term: 9}); err != nil {
			b.Fatal(err)
		}
		restore += time.Since(begun)
		size, stored = made.Description.Bytes, 0
		for _, p := range made.Description.Parts {
			stored += p.Bytes
		}
	}
	b.ReportMetric(create.Seconds()/float64(b.N), "s/create")
	b.ReportMetric(restore.Seconds()/float64(b.N), "s/restore")
	b.ReportMetric(float64(size)/1e6, "MB")
	b.ReportMetric(float64(stored)/1e6, "MB-stored")
}
