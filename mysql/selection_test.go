package mysql_test

import (
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// gathered takes rows as text.
type gathered struct {
	columns []mysql.Column
	asOf    int64
	rows    []string
	most    int // rows it takes; 0: all
}

var errFull = errors.New("it takes no more")

func (g *gathered) Columns(columns []mysql.Column, asOf int64) error {
	g.columns, g.asOf = columns, asOf
	return nil
}

func (g *gathered) Row(values []sql.RawBytes) error {
	if g.most > 0 && len(g.rows) == g.most {
		return errFull
	}
	texts := make([]string, len(values))
	for i, v := range values {
		if texts[i] = "NULL"; v != nil {
			texts[i] = string(v)
		}
	}
	g.rows = append(g.rows, strings.Join(texts, "|"))
	return nil
}

func analysts(t *testing.T, db *testkit.Database) *mysql.DB {
	return pool(t, db, local.AccountAnalyst, func(c *mysql.Config) { c.Schema, c.PlainTimes = "analytics", true })
}

// INV-8: rows come with what they are as of, values as the server writes them.
func TestSelect(t *testing.T) {
	b := newBench(t, shared)
	b.exec(t, "UPDATE quipu.checkpoints SET as_of = 1763632800123 WHERE owned")
	shared.AwaitReplica(t)
	got := &gathered{}
	err := analysts(t, shared.Replica).Select(t.Context(), mysql.Selection{
		Text: "SELECT 1, 1.50, NULL, TIMESTAMP'2026-01-31 17:05:30', 'ü'", Timeout: time.Minute, Dated: true,
	}, got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1|1.50|NULL|2026-01-31 17:05:30|ü"}, got.rows); diff != "" || got.asOf != 1763632800123 {
		t.Errorf("as of %d (-want +got):\n%s", got.asOf, diff)
	}
	kinds := ""
	for _, c := range got.columns {
		kinds += c.Type + " "
	}
	if kinds != "INT DECIMAL NULL DATETIME VARCHAR " {
		t.Errorf("types %s", kinds)
	}
}

// Whatever gets past the parser: the analysts' account reads the views and nothing else, and writes nowhere.
func TestSelectBehindTheParser(t *testing.T) {
	newBench(t, shared)
	shared.AwaitReplica(t)
	db := analysts(t, shared.Replica)
	for text, denied := range map[string]bool{
		"SELECT * FROM quipu.checkpoints": true, "SELECT * FROM mysql.user": true, "DELETE FROM event_types": true,
		"SELECT 1 INTO OUTFILE '/tmp/quipu-analyst'": true, "SELECT nonsense": false, "SELEC": false,
	} {
		err := db.Select(t.Context(), mysql.Selection{Text: text}, &gathered{})
		refused, ok := errors.AsType[*mysql.SelectionError](err)
		switch {
		case ok && refused.Denied == denied:
		case denied && err != nil && (strings.Contains(err.Error(), "denied") || strings.Contains(err.Error(), "read-only")):
		default:
			t.Errorf("%s: got %v, denied: want %t", text, err, denied)
		}
	}
	if err := db.Select(t.Context(), mysql.Selection{Text: "SELECT 1"}, &gathered{}); err != nil {
		t.Errorf("a statement after refused ones: %v", err)
	}
}

// A taker that has enough ends the selection, and the connections go on to be of use.
func TestSelectOfEnough(t *testing.T) {
	newBench(t, shared)
	shared.AwaitReplica(t)
	db := analysts(t, shared.Replica)
	for range 20 {
		got := &gathered{most: 3}
		err := db.Select(t.Context(), mysql.Selection{Text: "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT a.i FROM n a JOIN n b JOIN n c"}, got)
		if !errors.Is(err, errFull) || len(got.rows) != 3 {
			t.Fatalf("got %v after %d rows", err, len(got.rows))
		}
	}
}
