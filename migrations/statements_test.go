package migrations

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", " \n-- only a comment", nil},
		{"two", "SELECT 1;\nSELECT 2;\n", []string{"SELECT 1", "SELECT 2"}},
		{"no semicolon at the end", "SELECT 1", []string{"SELECT 1"}},
		{"semicolon in quotes", `SELECT 'a;b', "c;d", ` + "`e;f`" + `; SELECT 2`, []string{`SELECT 'a;b', "c;d", ` + "`e;f`", "SELECT 2"}},
		{"escaped quotes", `SELECT 'it''s; \'x;', 1; SELECT 2`, []string{`SELECT 'it''s; \'x;', 1`, "SELECT 2"}},
		{"comment before", "-- a; b\n# c;\nSELECT 1;", []string{"SELECT 1"}},
		{"comment within", "SELECT 1 -- a; b\n, 2;", []string{"SELECT 1 -- a; b\n, 2"}},
		{"comment for the server", "CREATE TABLE t (a INT) /*M! COLLATE x; */;", []string{"CREATE TABLE t (a INT) /*M! COLLATE x; */"}},
		{"minus is no comment", "SELECT 1--1; SELECT 2", []string{"SELECT 1--1", "SELECT 2"}},
		{"unclosed quote", "SELECT 'a; b", []string{"SELECT 'a; b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, split(test.text)); diff != "" {
				t.Errorf("statements (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEmbeddedFilesAreSound(t *testing.T) {
	s, err := load(embedded)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range s.versions {
		if v != uint(i+1) {
			t.Errorf("version %d follows %d files", v, i)
		}
		for _, f := range s.files[v] {
			if len(f.statements) == 0 {
				t.Errorf("%s has no statements", f.name)
			}
		}
	}
	if Oldest > s.latest() {
		t.Errorf("oldest version %d is above the latest, %d", Oldest, s.latest())
	}
}
