package countfile_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/event"
)

func write(t testing.TB, rows []countfile.Row) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := countfile.Write(&out, rows, testMeta); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(t testing.TB, data []byte) *countfile.File {
	t.Helper()
	file, err := countfile.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func collect(t testing.TB, rows iter.Seq2[countfile.Row, error]) []countfile.Row {
	t.Helper()
	var all []countfile.Row
	for row, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

func sorted(rows []countfile.Row) []countfile.Row {
	return slices.SortedStableFunc(slices.Values(rows), func(a, b countfile.Row) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Minute, b.Minute), cmp.Compare(a.Partition, b.Partition))
	})
}

// awkward are rows at the limits.
func awkward() []countfile.Row {
	most := event.Sum{Hi: 0x4b3b4ca85a86c47a, Lo: 0x098a223fffffffff} // 10³⁸ − 1
	least := event.Sum{Hi: ^most.Hi, Lo: ^most.Lo}.Add(event.SumOf(1))
	row := func(kind, key string, minute int64, a event.Aggregate) countfile.Row {
		return countfile.Row{Partition: 3, Row: event.Row{Type: kind, Key: key, Minute: testDay + minute, Aggregate: a}}
	}
	plain := event.NewAggregate()
	plain.Count = -5
	cancelled := event.Aggregate{Count: 0, ValueCount: 0, HasValues: true, Min: -1, Max: 7}
	rows := []countfile.Row{
		row("b", "quipu-seal:1:0000000000000000:00000000:", 0, plain),
		row("b", "k\x00", 5, plain), row("b", "k", 5, plain), row("b", "k\x00\x00", 5, plain), row("b", "ü☃", 1439, plain),
		row("a", "k", 7, event.Aggregate{Count: 1 << 62, ValueCount: -1 << 62, Sum: most, HasValues: true, Min: -1 << 63, Max: 1<<63 - 1}),
		row("a", "k", 3, event.Aggregate{Count: -1 << 62, ValueCount: 9, Sum: least, HasValues: true, Min: -4, Max: -4}),
		row("a", "k", 3, cancelled), // the same cell twice
		row("a", strings.Repeat("\U0010ffff", 63), 0, cancelled),
	}
	rows[2].Title, rows[4].Owner = "a title", "an owner"
	rows[7].Partition = 1
	return rows
}

func TestRowsComeBackInOrder(t *testing.T) {
	for _, test := range []struct {
		name string
		rows []countfile.Row
	}{
		{"none", nil},
		{"awkward", awkward()},
		{"many rows a key", sample(2, 700, 288)}, // more than one row group
		{"one row a key", sample(3, 150_000, 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := write(t, slices.Clone(test.rows))
			got := collect(t, open(t, data).All(t.Context(), bytes.NewReader(data)))
			if diff := gocmp.Diff(sorted(test.rows), got); diff != "" {
				t.Errorf("rows (-want +got):\n%.4000s", diff)
			}
		})
	}
}

// summaryOf adds rows up another way than the package does.
func summaryOf(rows []countfile.Row) countfile.Summary {
	parts := map[int]*countfile.Part{}
	for _, row := range rows {
		part := parts[row.Partition]
		if part == nil {
			part = &countfile.Part{Partition: row.Partition}
			parts[row.Partition] = part
		}
		part.Rows++
		part.EventCount = part.EventCount.Add(event.SumOf(row.Count))
		part.ValueCount = part.ValueCount.Add(event.SumOf(row.ValueCount))
		part.ValueSum = part.ValueSum.Add(row.Sum)
	}
	var summary countfile.Summary
	for partition := range 10 {
		if part := parts[partition]; part != nil {
			summary.Parts = append(summary.Parts, *part)
			summary.Rows += part.Rows
		}
	}
	return summary
}

func TestSumsOfWritingAndOfReadingBackAreThoseOfTheRows(t *testing.T) {
	for _, rows := range [][]countfile.Row{nil, awkward(), sample(4, 1000, 40)} {
		var out bytes.Buffer
		wrote, err := countfile.Write(&out, rows, testMeta)
		if err != nil {
			t.Fatal(err)
		}
		meta, read, err := countfile.Sum(t.Context(), bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		want := summaryOf(rows)
		if diff := gocmp.Diff(want, wrote); diff != "" {
			t.Errorf("written (-want +got):\n%s", diff)
		}
		if diff := gocmp.Diff(want, read); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
		if meta != testMeta {
			t.Errorf("got %+v, want %+v", meta, testMeta)
		}
	}
}

func TestLookupFindsExactlyTheRowsAskedFor(t *testing.T) {
	for _, shape := range []struct{ keys, rowsAKey int }{{700, 288}, {200_000, 1}} {
		rows := append(sample(5, shape.keys, shape.rowsAKey), awkward()...)
		data := write(t, rows)
		file, order := open(t, data), sorted(rows)
		random := rand.New(rand.NewPCG(6, 6))
		for range 60 {
			query := countfile.Query{Type: []string{"view", "watch", "a", "b", "none"}[random.IntN(5)], From: testDay + random.Int64N(1440)}
			query.To = query.From + 1 + random.Int64N(1440)
			for range 1 + random.IntN(4) {
				key := rows[random.IntN(len(rows))].Key
				if random.IntN(3) == 0 {
					key += "x" // lies between keys that exist
				}
				query.Keys = append(query.Keys, key)
			}
			var want []countfile.Row
			for _, row := range order {
				if row.Type == query.Type && slices.Contains(query.Keys, row.Key) && query.From <= row.Minute && row.Minute < query.To {
					row.Title, row.Owner = "", ""
					want = append(want, row)
				}
			}
			got := collect(t, file.Lookup(t.Context(), bytes.NewReader(data), query))
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v (-want +got):\n%.4000s", query, diff)
			}
		}
	}
}

// counted counts bytes that are read.
type counted struct {
	io.ReaderAt
	bytes, reads int
}

func (c *counted) ReadAt(p []byte, offset int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, offset)
	c.bytes += n
	c.reads++
	return n, err
}

func TestLookupReadsLittle(t *testing.T) {
	data := write(t, sample(7, 300_000, 1))
	file := open(t, data)
	for _, test := range []struct {
		name  string
		query countfile.Query
		rows  int
		bytes int
	}{
		{"another type", countfile.Query{Type: "like", Keys: []string{"video-00000001"}, From: testDay, To: testDay + 1440}, 0, 0},
		{"before all keys", countfile.Query{Type: "view", Keys: []string{"a"}, From: testDay, To: testDay + 1440}, 0, 0},
		{"another time", countfile.Query{Type: "view", Keys: []string{"video-00000001"}, From: testDay + 5, To: testDay + 1440}, 0, 0},
		{"a key between others: the bloom filter", countfile.Query{Type: "view", Keys: []string{"video-00100001x"}, From: testDay, To: testDay + 1440}, 0, 700 << 10},
		{"a key", countfile.Query{Type: "view", Keys: []string{"video-00100001"}, From: testDay, To: testDay + 1440}, 1, 700 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			reader := &counted{ReaderAt: bytes.NewReader(data)}
			got := collect(t, file.Lookup(t.Context(), reader, test.query))
			if len(got) != test.rows || reader.bytes > test.bytes {
				t.Errorf("got %d rows by %d bytes in %d reads of %d, want %d rows by at most %d", len(got), reader.bytes, reader.reads, len(data), test.rows, test.bytes)
			}
		})
	}
}

func TestMergeAddsUpCells(t *testing.T) {
	older, newer := sample(8, 3000, 24), sample(9, 4000, 24) // most cells in both, with other values
	for i := range newer {
		newer[i].Title = "new title"
	}
	one, two, none := write(t, older), write(t, newer), write(t, nil)
	source := func(data []byte) countfile.Source {
		return countfile.Source{File: open(t, data), Reader: bytes.NewReader(data)}
	}
	var out bytes.Buffer
	summary, err := countfile.Merge(t.Context(), &out, testMeta, source(one), source(none), source(two))
	if err != nil {
		t.Fatal(err)
	}
	type cell struct {
		partition int
		kind, key string
		minute    int64
	}
	cells := map[cell]countfile.Row{}
	for _, row := range slices.Concat(older, newer) {
		at := cell{row.Partition, row.Type, row.Key, row.Minute}
		total, ok := cells[at]
		if !ok {
			total = row
		} else {
			total.Title, total.Owner = row.Title, row.Owner
			total.Merge(row.Aggregate)
		}
		cells[at] = total
	}
	var want []countfile.Row
	for _, row := range cells {
		want = append(want, row)
	}
	want = sorted(want)
	got := collect(t, open(t, out.Bytes()).All(t.Context(), bytes.NewReader(out.Bytes())))
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%.4000s", diff)
	}
	if diff := gocmp.Diff(summaryOf(want), summary); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	both := summaryOf(slices.Concat(older, newer))
	for i := range both.Parts {
		both.Parts[i].Rows = summary.Parts[i].Rows
	}
	both.Rows = summary.Rows
	if diff := gocmp.Diff(both, summary); diff != "" {
		t.Errorf("the sums of the sources (-want +got):\n%s", diff)
	}
}

func TestMergeRefusesFilesOfAnotherDay(t *testing.T) {
	data := write(t, awkward())
	meta := testMeta
	meta.Day += 1440
	_, err := countfile.Merge(t.Context(), io.Discard, meta, countfile.Source{File: open(t, data), Reader: bytes.NewReader(data)})
	if !errors.Is(err, countfile.ErrRow) {
		t.Errorf("got %v, want ErrRow", err)
	}
}

func TestWriteRefusesWhatItCannotStore(t *testing.T) {
	good := awkward()[0]
	for name, spoil := range map[string]func(*countfile.Row, *countfile.Meta){
		"another day":       func(r *countfile.Row, _ *countfile.Meta) { r.Minute += 1440 },
		"before the day":    func(r *countfile.Row, _ *countfile.Meta) { r.Minute = testDay - 1 },
		"within an hour":    func(r *countfile.Row, m *countfile.Meta) { m.Resolution, r.Minute = countfile.Hour, testDay+61 },
		"a sum too large":   func(r *countfile.Row, _ *countfile.Meta) { r.HasValues, r.Sum = true, event.Sum{Hi: 3 << 61} },
		"a sum too small":   func(r *countfile.Row, _ *countfile.Meta) { r.HasValues, r.Sum = true, event.Sum{Hi: -1 << 63} },
		"no key":            func(r *countfile.Row, _ *countfile.Meta) { r.Key = "" },
		"no UTF-8":          func(r *countfile.Row, _ *countfile.Meta) { r.Key = "\xff" },
		"a title not UTF-8": func(r *countfile.Row, _ *countfile.Meta) { r.Title = "\xff" },
		"no type":           func(r *countfile.Row, _ *countfile.Meta) { r.Type = "" },
		"no partition":      func(r *countfile.Row, _ *countfile.Meta) { r.Partition = -1 },
		"no resolution":     func(_ *countfile.Row, m *countfile.Meta) { m.Resolution = "week" },
		"a day at no dawn":  func(_ *countfile.Row, m *countfile.Meta) { m.Day++ },
	} {
		t.Run(name, func(t *testing.T) {
			row, meta := good, testMeta
			spoil(&row, &meta)
			if _, err := countfile.Write(io.Discard, []countfile.Row{row}, meta); !errors.Is(err, countfile.ErrRow) {
				t.Errorf("got %v, want ErrRow", err)
			}
		})
	}
}

var errDisk = errors.New("the disk is gone")

// failing fails after some reads.
type failing struct {
	io.ReaderAt
	left int
}

func (f *failing) ReadAt(p []byte, offset int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errDisk
	}
	return f.ReaderAt.ReadAt(p, offset)
}

func TestErrorsOfTheReaderAreNotTakenForDamage(t *testing.T) {
	data := write(t, sample(10, 100_000, 1))
	file := open(t, data)
	query := countfile.Query{Type: "view", Keys: []string{"video-00000001"}, From: testDay, To: testDay + 1440}
	for left := 0; ; left++ {
		var err error
		for _, e := range file.Lookup(t.Context(), &failing{bytes.NewReader(data), left}, query) {
			err = e
		}
		if err == nil {
			if left == 0 {
				t.Fatal("it read nothing")
			}
			break
		}
		if !errors.Is(err, errDisk) || errors.Is(err, countfile.ErrDamaged) {
			t.Fatalf("after %d reads: got %v, want the reader's error", left, err)
		}
	}
	if _, err := file.Sum(t.Context(), &failing{bytes.NewReader(data), 0}); !errors.Is(err, errDisk) {
		t.Errorf("Sum: got %v, want the reader's error", err)
	}
}

func TestEndOfTheContextEndsReading(t *testing.T) {
	data := write(t, awkward())
	file := open(t, data)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := file.Sum(ctx, bytes.NewReader(data)); !errors.Is(err, context.Canceled) {
		t.Errorf("Sum: got %v, want cancelled", err)
	}
	for _, err := range file.Lookup(ctx, bytes.NewReader(data), countfile.Query{Type: "a", Keys: []string{"k"}, From: testDay, To: testDay + 9}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Lookup: got %v, want cancelled", err)
		}
	}
}

// TestEveryFlippedByteIsFound: whatever byte is changed, reading all finds it, and a lookup finds it or answers as if it were not.
func TestEveryFlippedByteIsFound(t *testing.T) {
	rows := sample(11, 12, 5)
	data := write(t, rows)
	query := countfile.Query{Type: "view", Keys: []string{rows[0].Key, rows[30].Key}, From: testDay, To: testDay + 1440}
	want := collect(t, open(t, data).Lookup(t.Context(), bytes.NewReader(data), query))
	for at := range data {
		spoiled := bytes.Clone(data)
		spoiled[at] ^= 1 << (at % 8)
		reader := bytes.NewReader(spoiled)
		if _, _, err := countfile.Sum(t.Context(), reader, int64(len(data))); !errors.Is(err, countfile.ErrDamaged) {
			t.Fatalf("byte %d of %d: Sum: got %v, want ErrDamaged", at, len(data), err)
		}
		file, err := countfile.Open(reader, int64(len(data)))
		if err != nil {
			continue
		}
		var got []countfile.Row
		for row, e := range file.Lookup(t.Context(), reader, query) {
			if err = e; err == nil {
				got = append(got, row)
			}
		}
		if err == nil && !gocmp.Equal(got, want) {
			t.Fatalf("byte %d of %d: a lookup answers wrongly", at, len(data))
		}
	}
}

func TestCutFilesAreFound(t *testing.T) {
	data := write(t, sample(12, 2000, 5))
	for _, size := range []int{0, 1, 8, 100, len(data) / 2, len(data) - 1} {
		if _, _, err := countfile.Sum(t.Context(), bytes.NewReader(data[:size]), int64(size)); !errors.Is(err, countfile.ErrDamaged) {
			t.Errorf("cut to %d: got %v, want ErrDamaged", size, err)
		}
		if _, _, err := countfile.Sum(t.Context(), bytes.NewReader(data[:size]), int64(len(data))); !errors.Is(err, countfile.ErrDamaged) {
			t.Errorf("cut to %d of the expected %d: got %v, want ErrDamaged", size, len(data), err)
		}
	}
	longer := append(bytes.Clone(data), 0)
	if _, _, err := countfile.Sum(t.Context(), bytes.NewReader(longer), int64(len(longer))); !errors.Is(err, countfile.ErrDamaged) {
		t.Errorf("a byte longer: got %v, want ErrDamaged", err)
	}
}

func TestNamesOfObjects(t *testing.T) {
	unique, err := countfile.NewUnique()
	if err != nil {
		t.Fatal(err)
	}
	name, err := countfile.ObjectName(countfile.Minute, testDay, 12, "s-1", unique)
	if err != nil {
		t.Fatal(err)
	}
	if want := "resolution=minute/date=2026-11-12/group=0012/s-1-" + unique + ".parquet"; name != want {
		t.Errorf("got %s, want %s", name, want)
	}
	got, err := countfile.ParseName(name)
	want := countfile.Name{Resolution: "minute", Day: testDay, Group: 12, Shard: "s-1", Unique: unique}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", name + "x", "resolution=week" + name[17:], name[1:], fmt.Sprintf("resolution=day/date=2026-13-01/group=0000/s1-%s.parquet", unique)} {
		if _, err := countfile.ParseName(bad); !errors.Is(err, countfile.ErrName) {
			t.Errorf("%q: got %v, want ErrName", bad, err)
		}
	}
	if _, err := countfile.ObjectName(countfile.Minute, testDay, 12, "s/1", unique); !errors.Is(err, countfile.ErrName) {
		t.Errorf("a slash in a shard: got %v, want ErrName", err)
	}
}
