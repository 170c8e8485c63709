package mysql_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/mysql"
)

func text(s string) *string { return &s }

func TestImportSetsTitlesAndOwners(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2, counted("counted", minute(12, 0), 2)))
	for i, step := range []struct {
		keys []mysql.KeyAttributes
		want mysql.Imported
	}{
		{[]mysql.KeyAttributes{
			{Partition: 3, Name: "counted", Title: text("One"), Owner: text("Ann")},
			{Partition: 3, Name: "new", Owner: text("Ann")},
			{Partition: 5, Name: "new", Title: text("O'Hare \\ ☃"), Owner: text("Bob ")},
		}, mysql.Imported{Created: 2, Updated: 1}},
		{
			[]mysql.KeyAttributes{{Partition: 3, Name: "counted", Title: text("Two")}, {Partition: 3, Name: "new", Title: text(""), Owner: text("")}, {Partition: 5, Name: "new"}},
			mysql.Imported{Updated: 3},
		},
	} {
		got, err := b.primary.ImportKeys(t.Context(), step.keys)
		if err != nil || got != step.want {
			t.Fatalf("import %d: got %+v, %v; want %+v", i, got, err, step.want)
		}
	}
	for _, test := range []struct {
		partition int
		name      string
		want      mysql.KeyInfo
	}{
		{3, "counted", mysql.KeyInfo{Known: true, Title: "Two", Owner: "Ann", Term: 1, AsOf: 2000}},
		{3, "new", mysql.KeyInfo{Known: true, Term: 1, AsOf: 2000}},
		{5, "new", mysql.KeyInfo{Known: true, Title: "O'Hare \\ ☃", Owner: "Bob ", Term: 1}},
		{5, "nobody", mysql.KeyInfo{Term: 1}},
	} {
		got, err := b.read.LookupKey(t.Context(), test.partition, test.name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("key %s of partition %d (-want +got):\n%s", test.name, test.partition, diff)
		}
	}
	if got := b.total(t, "counted"); got != 2 {
		t.Errorf("got %d, want 2", got)
	}
}

func TestBadImportChangesNothing(t *testing.T) {
	b := newBench(t, shared)
	good := mysql.KeyAttributes{Partition: 3, Name: "good", Title: text("x")}
	for name, test := range map[string]struct {
		bad  mysql.KeyAttributes
		want error
	}{
		"empty key":         {mysql.KeyAttributes{Partition: 3}, mysql.ErrUnapplicable},
		"title too long":    {mysql.KeyAttributes{Partition: 3, Name: "a", Title: text(strings.Repeat("x", 256))}, mysql.ErrUnapplicable},
		"owner is no UTF-8": {mysql.KeyAttributes{Partition: 3, Name: "a", Owner: text("\xff")}, mysql.ErrUnapplicable},
		"not owned":         {mysql.KeyAttributes{Partition: 9, Name: "a"}, mysql.ErrMisrouted},
	} {
		if _, err := b.primary.ImportKeys(t.Context(), []mysql.KeyAttributes{good, test.bad}); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.counted_keys"); n != 0 {
		t.Errorf("got %d keys, want none", n)
	}
}
