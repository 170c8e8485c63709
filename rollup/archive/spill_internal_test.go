package archive

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/event"
)

func spillRow(key string, minute int64) countfile.Row {
	row := countfile.Row{Partition: 3, Title: "A title", Owner: "o", Row: event.Row{Type: "view", Key: key, Minute: minute, Aggregate: event.NewAggregate()}}
	row.AddEvent(2, minute, minute%2 == 0)
	return row
}

// Rows come back from disk as they went, each bin for itself, and nothing is left.
func TestRowsWaitOnDisk(t *testing.T) {
	folder := t.TempDir()
	s := spill{folder: folder}
	want := map[bin][]countfile.Row{}
	for round := range 3 {
		for b := range 2 {
			at := bin{day: int64(b) * minutesOfDay, group: b}
			var rows []countfile.Row
			for i := range spillRows + 10 {
				rows = append(rows, spillRow(fmt.Sprintf("k%d-%d", round, i%1000), at.day+int64(i%1440)))
			}
			if err := s.append(at, rows); err != nil {
				t.Fatal(err)
			}
			want[at] = append(want[at], rows...)
		}
	}
	for at, rows := range want {
		var got []countfile.Row
		if err := s.read(at, func(some []countfile.Row) error { got = append(got, some...); return nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rows, got); diff != "" {
			t.Errorf("rows of %+v differ (-want +got):\n%.2000s", at, diff)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v left on disk", left, err)
	}
}

// A file that was cut or changed is an error, and no fewer rows.
func TestDamagedRowsOnDisk(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(data []byte) []byte { return data[:len(data)-3] },
		"changed": func(data []byte) []byte { data[len(data)/2] ^= 1; return data },
		"endless": func(data []byte) []byte { data[3] = 0xff; return data },
	} {
		s := spill{folder: t.TempDir()}
		if err := s.append(bin{}, []countfile.Row{spillRow("k", 1), spillRow("l", 2)}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(s.path(bin{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path(bin{}), damage(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.read(bin{}, func([]countfile.Row) error { return nil }); err == nil {
			t.Errorf("%s: got no error", name)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}
