package countfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/testkit"
)

// layOut writes rows into a folder as cold storage does: some days, two shards, a late file.
func layOut(t *testing.T) (pattern string, all []countfile.Row) {
	t.Helper()
	dir := t.TempDir()
	for i, day := range []int64{testDay, testDay, testDay, testDay + 1440} {
		rows := sample(uint64(i), 300, 12)
		if i == 2 { // the late one
			rows = append(sample(7, 4, 3), awkward()...)
		}
		for n := range rows {
			rows[n].Minute += day - testDay
		}
		all = append(all, rows...)
		unique, err := countfile.NewUnique()
		if err != nil {
			t.Fatal(err)
		}
		name, err := countfile.ObjectName(countfile.Minute, day, 0, fmt.Sprintf("s%d", 1+i%2), unique)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		meta := testMeta
		meta.Day = day
		if _, err := countfile.Write(file, rows, meta); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return "'" + filepath.Join(dir, "resolution=*/date=*/group=*/*.parquet") + "'", all
}

func TestDuckDBReadsTheSameSums(t *testing.T) {
	pattern, all := layOut(t)
	want := map[string]string{}
	totals := map[string]*event.Aggregate{}
	for _, row := range all {
		at := fmt.Sprintf("%d/%s/%s", row.Minute/1440*1440, row.Type, row.Key)
		if totals[at] == nil {
			empty := event.NewAggregate()
			totals[at] = &empty
		}
		totals[at].Merge(row.Aggregate)
	}
	for at, total := range totals {
		want[at] = fmt.Sprint(total.Count)
		if total.HasValues {
			want[at] = fmt.Sprintf("%d %d %s %d %d", total.Count, total.ValueCount, total.Sum, total.Min, total.Max)
		}
	}
	got := map[string]string{}
	for _, row := range testkit.DuckDB(t, `
		SELECT (epoch_ms(date::TIMESTAMP) // 60000)::VARCHAR AS day, type, key,
		       sum(event_count)::VARCHAR AS event_count, sum(value_count)::VARCHAR AS value_count, sum(value_sum)::VARCHAR AS value_sum,
		       min(value_min)::VARCHAR AS value_min, max(value_max)::VARCHAR AS value_max
		FROM read_parquet(`+pattern+`, hive_partitioning = true)
		WHERE resolution = 'minute' AND date_trunc('day', start) = date
		GROUP BY ALL`) {
		text := fmt.Sprint(row["event_count"])
		if row["value_count"] != nil {
			text = fmt.Sprint(row["event_count"], " ", row["value_count"], " ", row["value_sum"], " ", row["value_min"], " ", row["value_max"])
		}
		got[fmt.Sprintf("%v/%s/%s", row["day"], row["type"], row["key"])] = text
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%.3000s", diff)
	}
}

func TestDuckDBSeesTheColumns(t *testing.T) {
	pattern, _ := layOut(t)
	got := map[string]string{}
	for _, row := range testkit.DuckDB(t, "DESCRIBE SELECT * FROM read_parquet("+pattern+", hive_partitioning = true)") {
		got[fmt.Sprint(row["column_name"])] = fmt.Sprint(row["column_type"])
	}
	want := map[string]string{
		"partition": "INTEGER", "type": "VARCHAR", "key": "VARCHAR", "title": "VARCHAR", "owner": "VARCHAR", "start": "TIMESTAMP",
		"event_count": "BIGINT", "value_count": "BIGINT", "value_sum": "DECIMAL(38,0)", "value_min": "BIGINT", "value_max": "BIGINT",
		"resolution": "VARCHAR", "date": "DATE", "group": "VARCHAR",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDuckDBPrunes: files by their folders, row groups by statistics and by the bloom filter, as DuckDB itself tells.
func TestDuckDBPrunes(t *testing.T) {
	pattern, _ := layOut(t)
	plan := fmt.Sprint(testkit.DuckDB(t, "EXPLAIN ANALYZE SELECT sum(event_count) FROM read_parquet("+pattern+`, hive_partitioning = true)
		WHERE date = '2026-11-13' AND type = 'view' AND key = 'video-00000001'`))
	if !strings.Contains(plan, "Scanning Files: 1/4") {
		t.Errorf("it reads more than one of the four files:\n%s", plan)
	}

	// Row groups that are sorted by key, and a filter of the keys in each.
	path := filepath.Join(t.TempDir(), "large.parquet")
	if err := os.WriteFile(path, write(t, sample(20, 300_000, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	groups := map[string]bool{}
	for _, row := range testkit.DuckDB(t, "SELECT row_group_id::VARCHAR AS id, stats_min_value, stats_max_value, bloom_filter_length FROM parquet_metadata('"+path+"') WHERE path_in_schema = 'key'") {
		groups[fmt.Sprint(row["id"])] = row["stats_min_value"] != nil && row["stats_max_value"] != nil && row["bloom_filter_length"] != nil
	}
	if diff := cmp.Diff(map[string]bool{"0": true, "1": true, "2": true}, groups); diff != "" {
		t.Errorf("statistics and filters by row group (-want +got):\n%s", diff)
	}
	// Of keys that lie between others the filters let few through; of those that are there, all.
	excluded := 0
	for i := range 5 {
		key := fmt.Sprintf("video-%08d-no", i)
		for _, row := range probe(t, path, key) {
			if row {
				excluded++
			}
		}
	}
	if excluded < 3*4 {
		t.Errorf("keys that are not there were excluded from %d of 15 row groups", excluded)
	}
	if all := probe(t, path, "video-00000001"); all[0] || !all[1] || !all[2] {
		t.Errorf("a key of the first row group is excluded from %v", all)
	}
}

// probe tells for each row group whether its bloom filter excludes a key.
func probe(t *testing.T, path, key string) map[int]bool {
	t.Helper()
	excludes := map[int]bool{}
	for i, row := range testkit.DuckDB(t, "SELECT bloom_filter_excludes FROM parquet_bloom_probe('"+path+"', 'key', '"+key+"') ORDER BY row_group_id") {
		excludes[i] = row["bloom_filter_excludes"].(bool)
	}
	return excludes
}
