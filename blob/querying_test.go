package blob_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/blob/rawfile"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/testkit"
)

const documentedDay = 29_907_360 // 2026-11-12, in minutes since 1970

// documented writes what docs/querying-cold-storage.md speaks of.
func documented(t *testing.T, store *blob.Store) {
	t.Helper()
	for _, day := range []int64{documentedDay, documentedDay + 1440} {
		var rows []countfile.Row
		for k := range 20 {
			row := countfile.Row{Owner: "somebody", Title: "a title", Row: event.Row{Type: "view", Key: fmt.Sprintf("video-%08d", k)}}
			if k%4 == 0 {
				row.Type = "watch"
			}
			for minute := range int64(200) {
				row.Minute, row.Aggregate = day+minute*7, event.NewAggregate()
				row.AddEvent(1, minute, row.Type == "watch")
				rows = append(rows, row)
			}
		}
		name, err := countfile.ObjectName(countfile.Minute, day, 0, "s1", "00000000000070008000000000000001")
		if err != nil {
			t.Fatal(err)
		}
		meta := countfile.Meta{Resolution: countfile.Minute, Day: day, Cluster: "test", Shard: "s1"}
		_, err = store.Upload(t.Context(), name, func(w io.Writer) error { _, err := countfile.Write(w, rows, meta); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	const appended = documentedDay * 60_000
	raw := rawfile.Name{Partition: 3, Date: documentedDay, Incarnation: "00ff", First: 1, Next: 3}
	object, err := raw.Object()
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Upload(t.Context(), object, func(w io.Writer) error {
		writer, err := rawfile.NewWriter(w, raw, "test")
		if err != nil {
			return err
		}
		for offset := range uint64(2) {
			var builder event.BatchBuilder
			builder.Add(&event.Event{Type: "view", Key: "video-1", ID: "once", TimeMs: appended, Weight: 1}, 7, 99) // in both: a duplicate
			builder.Add(&event.Event{Type: "view", Key: "video-1", TimeMs: appended, Weight: 2}, 7, 0)
			var batch event.Batch
			if err := errors.Join(batch.Decode(builder.AppendTo(nil)), writer.Add(1+offset, appended+int64(offset), &batch)); err != nil {
				return err
			}
		}
		_, err = writer.Close()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDocumentedQueries runs every example of docs/querying-cold-storage.md.
func TestDocumentedQueries(t *testing.T) {
	dir := t.TempDir()
	documented(t, openFolder(t, dir))
	page, err := os.ReadFile("../docs/querying-cold-storage.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 6 {
		t.Fatalf("the page has %d examples", len(blocks))
	}
	var answers []string
	for _, block := range blocks {
		var statements []string
		for statement := range strings.SplitSeq(strings.ReplaceAll(block[1], "'cold/", "'"+dir+"/"), ";") {
			if statement = strings.TrimSpace(statement); statement != "" {
				statements = append(statements, statement)
			}
		}
		rows := testkit.DuckDB(t, statements...)
		if len(rows) == 0 {
			t.Errorf("this answers nothing:\n%s", block[1])
		}
		answers = append(answers, fmt.Sprint(rows))
	}
	for i, want := range map[int]string{
		0:                "[map[hour:2026-11-12 00:00:00 views:9]",
		1:                "[map[average:99.5 events:1000 least:0 most:199 owner:somebody]]",
		2:                "[map[key:video-00000001 title:a title views:200]",
		len(answers) - 2: "[map[events:4000]]",
		len(answers) - 1: "[map[event_count:5 key:video-1 minute:2026-11-12 00:00:00 type:view]]",
	} {
		if !strings.HasPrefix(answers[i], want) {
			t.Errorf("example %d answers %.300s, want %s", i, answers[i], want)
		}
	}
}
