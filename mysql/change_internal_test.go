package mysql

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
)

func rowAt(kind, key string, minute int64) event.Row {
	row := event.Row{Type: kind, Key: key, Minute: minute, Aggregate: event.NewAggregate()}
	row.AddEvent(1, 0, false)
	return row
}

func TestTouchedTellsRunsOfMinutes(t *testing.T) {
	rows := []event.Row{
		rowAt("view", "v1", 100), rowAt("view", "v1", 102), rowAt("view", "v1", 101), rowAt("view", "v1", 200),
		rowAt("like", "v1", 7), rowAt("view", "v2", 999), rowAt("view", "v2", 1000),
	}
	got := touchedBy(rows, 1000)
	want := []TouchedType{
		{Type: "like", From: 7, To: 8, Keys: []TouchedKey{{cluster.KeyHash("like", "v1"), 7, 8}}},
		{Type: "view", From: 100, To: 1000, Keys: joinRuns([]TouchedKey{
			{cluster.KeyHash("view", "v1"), 100, 103}, {cluster.KeyHash("view", "v1"), 200, 201}, {cluster.KeyHash("view", "v2"), 999, 1000},
		})},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	back, err := parseTouched(appendTouched(nil, got))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Fatal(diff)
	}
	if none := touchedBy(rows, 7); none != nil {
		t.Errorf("rows of open minutes touch %v", none)
	}
}

func TestTouchedByManyKeysTellsNone(t *testing.T) {
	var rows []event.Row
	for i := range maxTouchedKeys + 1 {
		rows = append(rows, rowAt("view", fmt.Sprint("v", i), int64(100+i)))
	}
	want := []TouchedType{{Type: "view", From: 100, To: 100 + maxTouchedKeys + 1}}
	if diff := cmp.Diff(want, touchedBy(rows, 10_000)); diff != "" {
		t.Error(diff)
	}
	if got := touchedBy(rows[1:], 10_000); len(got[0].Keys) != maxTouchedKeys {
		t.Errorf("%d keys told, want %d", len(got[0].Keys), maxTouchedKeys)
	}
}

func TestClosedBefore(t *testing.T) {
	for asOf, want := range map[int64]int64{0: 0, 119_999: 0, 180_000: 1, 239_999: 1, 240_000: 2} {
		if got := ClosedBefore(asOf); got != want {
			t.Errorf("as of %d minutes before %d are closed, want %d", asOf, got, want)
		}
	}
}

func FuzzParseTouched(f *testing.F) {
	f.Add(appendTouched(nil, touchedBy([]event.Row{rowAt("view", "v1", 100), rowAt("like", "v2", 90)}, 1000)))
	f.Add([]byte{touchedVersion, 0xff, 0xff, 3})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, data []byte) {
		touched, err := parseTouched(data)
		if err != nil {
			if !errors.Is(err, ErrSchema) {
				t.Errorf("not ErrSchema: %v", err)
			}
			return
		}
		again, err := parseTouched(appendTouched(nil, touched))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(touched, again); diff != "" {
			t.Error(diff)
		}
	})
}
