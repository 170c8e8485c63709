package mysql_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/mysql"
)

func TestExcess(t *testing.T) {
	t.Parallel()
	const uuid, other = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
	for name, test := range map[string]struct {
		of, in mysql.Held
		want   string
	}{
		"nothing anywhere":     {},
		"the same":             {of: mysql.Held{Executed: "0-101-57"}, in: mysql.Held{Executed: "0-101-57", Logged: "0-101-57"}},
		"a part":               {of: mysql.Held{Executed: "0-101-50"}, in: mysql.Held{Executed: "0-101-57", Logged: "0-101-57"}},
		"before a promotion":   {of: mysql.Held{Executed: "0-101-57"}, in: mysql.Held{Executed: "0-102-90", Logged: "0-101-57,0-102-90"}},
		"beyond it":            {of: mysql.Held{Executed: "0-101-58"}, in: mysql.Held{Executed: "0-102-90", Logged: "0-101-57,0-102-90"}, want: "0-101-58"},
		"of nobody it knows":   {of: mysql.Held{Executed: "0-103-1"}, in: mysql.Held{Executed: "0-102-90", Logged: "0-101-57,0-102-90"}, want: "0-103-1"},
		"another domain":       {of: mysql.Held{Executed: "0-101-5,1-101-3"}, in: mysql.Held{Executed: "0-101-5", Logged: "0-101-5"}, want: "1-101-3"},
		"a copy, nothing new":  {of: mysql.Held{Executed: "0-101-57"}, in: mysql.Held{Executed: "0-101-57"}},
		"MySQL, the same":      {of: mysql.Held{Executed: uuid + ":1-57"}, in: mysql.Held{Executed: uuid + ":1-57", Logged: uuid + ":1-57"}},
		"MySQL, beyond":        {of: mysql.Held{Executed: uuid + ":1-60"}, in: mysql.Held{Executed: uuid + ":1-57,\n" + other + ":1-9"}, want: uuid + ":58-60"},
		"MySQL, gaps":          {of: mysql.Held{Executed: uuid + ":1-5:8-9"}, in: mysql.Held{Executed: uuid + ":1-6"}, want: uuid + ":8-9"},
		"MySQL, a tag":         {of: mysql.Held{Executed: uuid + ":1-5:backup:1-3"}, in: mysql.Held{Executed: uuid + ":1-5:backup:1"}, want: uuid + ":backup:2-3"},
		"MySQL, another split": {of: mysql.Held{Executed: uuid + ":1-5:6-9"}, in: mysql.Held{Executed: uuid + ":1-9"}},
	} {
		if got, err := mysql.Excess(test.of, test.in); err != nil || got != test.want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, test.want)
		}
	}
	for _, text := range []string{"0-101", "a-b-c", "0-1-x", uuid + ":5-1", uuid + ":"} {
		if _, err := mysql.Further(text); err == nil {
			t.Errorf("%q was taken for a position", text)
		}
	}
}

// TestBeyondIsAboutTheForkOfHistories: whoever stands at or before the end of a term holds nothing beyond it, whoever wrote on does, also when the
// numbers of the next term have passed it.
func TestBeyondIsAboutTheForkOfHistories(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		end := rapid.Uint64Range(1, 1000).Draw(t, "end of the term")
		wrote := rapid.Uint64Range(1, 2000).Draw(t, "old primary")
		position, limit := fmt.Sprintf("0-101-%d", wrote), fmt.Sprintf("0-101-%d", end)
		excess, err := mysql.Beyond(position, limit)
		if err != nil || (excess != "") != (wrote > end) {
			t.Fatalf("at %s, the term ended at %s: got %q, %v", position, limit, excess, err)
		}
		uuid := "3e11fa47-71ca-11e1-9e33-c80aa9429562"
		excess, err = mysql.Beyond(fmt.Sprintf("%s:1-%d", uuid, wrote), fmt.Sprintf("%s:1-%d", uuid, end))
		if err != nil || (excess != "") != (wrote > end) {
			t.Fatalf("MySQL: %d, the term ended at %d: got %q, %v", wrote, end, excess, err)
		}
	})
}
