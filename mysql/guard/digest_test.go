package guard_test

import (
	"strings"
	"testing"

	"github.com/quipudb/quipu/mysql/guard"
)

func TestNormalise(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT 1":                               "SELECT ?",
		"SELECT  a1,\n\tb FROM t WHERE x=-1.5e3": "SELECT a1, b FROM t WHERE x=-?",
		"SELECT * FROM t WHERE id IN (1,2, 3)":   "SELECT * FROM t WHERE id IN (?…)",
		"SELECT * FROM t WHERE id IN (1)":        "SELECT * FROM t WHERE id IN (?)",
		"INSERT INTO t VALUES (1,'a',NULL), (2,'b',NULL),(3,'c',NULL) ON DUPLICATE KEY UPDATE x = VALUES(x)": "INSERT INTO t VALUES (?…,NULL) ON DUPLICATE KEY UPDATE x = VALUES(x)",
		"SELECT 'it''s', \"a\\\"b\", `odd ` name`":                                                           "SELECT ?…, `odd ` name`",
		"/* q=1 */SELECT /*+ HINT(1) */ 1 -- the end":                                                        "SELECT /*+ HINT(?) */ ?",
		"SELECT 1 # end":                "SELECT ?",
		"SELECT 'open":                  "SELECT ?",
		"SELECT `open":                  "SELECT `open",
		"SELECT f(1), f(2), f(3, 4)":    "SELECT f(?), f(?), f(?…)",
		"SELECT x'00ff', 0xff, 5 - 3":   "SELECT x?… - ?",
		"SELECT (SELECT 1), (SELECT 2)": "SELECT (SELECT ?)",
		"SET STATEMENT max_statement_time=4.500 FOR SELECT k FROM k7": "SET STATEMENT max_statement_time=? FOR SELECT k FROM k7",
	} {
		if got := guard.Normalise(text); got != want {
			t.Errorf("%q:\n got %q\nwant %q", text, got, want)
		}
	}
}

// However long a statement is, its digest is short, and neither is the shape of a list's length.
func TestNormaliseIsBounded(t *testing.T) {
	if got := guard.Normalise("SELECT " + strings.Repeat("a, ", 10_000)); len(got) > 2<<10 {
		t.Errorf("got %d bytes", len(got))
	}
	short, long := guard.Normalise("SELECT IN ("+strings.Repeat("1,", 10)+"1)"), guard.Normalise("SELECT IN ("+strings.Repeat("1,", 1000)+"1)")
	if short != long {
		t.Errorf("got %q and %q", short, long)
	}
}

func FuzzNormalise(f *testing.F) {
	f.Add("SELECT 'a', (1, 2), (3, 4) /* x */ -- y")
	f.Fuzz(func(t *testing.T, text string) {
		if got := guard.Normalise(text); len(got) > 8<<10 {
			t.Errorf("got %d bytes", len(got))
		}
	})
}

func BenchmarkNormalise(b *testing.B) {
	text := "SET STATEMENT max_statement_time=4.500 FOR SELECT " + strings.Repeat("m.event_count, SUM(m.value_count) AS a FROM minute_counts m WHERE m.key_id IN (123, 456) AND m.start >= '2026-01-01 00:00:00' UNION ALL SELECT ", 8)
	b.ReportAllocs()
	for b.Loop() {
		guard.Normalise(text)
	}
}
