package rawfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/blob/rawfile"
	"github.com/quipudb/quipu/event"
)

const appended = 1_794_441_600_000 // 2026-11-12

func testName(batches int) rawfile.Name {
	return rawfile.Name{Partition: 3, Date: rawfile.DateOf(appended), Incarnation: "00ff", First: 41, Next: 41 + uint64(batches)}
}

// record is a batch at its place.
type record struct {
	offset uint64
	time   int64
	batch  *event.Batch
	rows   []rawfile.Row
}

// records makes batches with all that events may have.
func records(t testing.TB, batches, events int) []record {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	var made []record
	for b := range batches {
		r := record{offset: 41 + uint64(b), time: appended + int64(b)*100, batch: new(event.Batch)}
		var builder event.BatchBuilder
		for i := range events {
			row := rawfile.Row{Offset: r.offset, Index: i, AppendTimeMs: r.time, Event: event.Event{
				Type: []string{"view", "watch"}[i%2], Key: fmt.Sprintf("video-%d", random.IntN(1000)),
				TimeMs: r.time - random.Int64N(1_000_000), Weight: 1,
			}}
			if b%3 > 0 && i%4 > 0 {
				row.ID, row.Fingerprint = fmt.Sprintf("id-%d-%d", b, i), random.Uint64()|1
			}
			if b%2 > 0 && i%2 > 0 {
				row.Value, row.HasValue = random.Int64N(2*event.MaxValue)-event.MaxValue, true
			}
			if b%5 == 0 {
				row.Weight = 1 + random.Int64N(10) - 20*int64(i%2)
			}
			builder.Add(&row.Event, random.Uint64(), row.Fingerprint)
			r.rows = append(r.rows, row)
		}
		if err := r.batch.Decode(builder.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		made = append(made, r)
	}
	return made
}

func write(t testing.TB, all []record) []byte {
	t.Helper()
	var out bytes.Buffer
	writer, err := rawfile.NewWriter(&out, testName(len(all)), "test")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, r := range all {
		if err := writer.Add(r.offset, r.time, r.batch); err != nil {
			t.Fatal(err)
		}
		rows += len(r.rows)
	}
	if n, err := writer.Close(); err != nil || n != int64(rows) {
		t.Fatalf("got %d, %v; want %d events", n, err, rows)
	}
	return out.Bytes()
}

func TestEventsComeBackAsTheyWereInTheLog(t *testing.T) {
	for _, shape := range []struct{ batches, events int }{{1, 1}, {7, 100}, {30, 5_000}} { // the last is more than one row group
		all := records(t, shape.batches, shape.events)
		data := write(t, all)
		var want, got []rawfile.Row
		for _, r := range all {
			want = append(want, r.rows...)
		}
		for row, err := range rawfile.Read(t.Context(), bytes.NewReader(data), int64(len(data)), testName(shape.batches)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, row)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v: (-want +got):\n%.3000s", shape, diff)
		}
	}
}

func TestWriterTakesExactlyTheBatchesOfItsName(t *testing.T) {
	all := records(t, 3, 2)
	first, second := all[0], all[1]
	for name, add := range map[string]func(*rawfile.Writer) error{
		"another first offset": func(w *rawfile.Writer) error { return w.Add(second.offset, first.time, second.batch) },
		"another date":         func(w *rawfile.Writer) error { return w.Add(first.offset, first.time+86_400_000, first.batch) },
		"a gap": func(w *rawfile.Writer) error {
			return errors.Join(w.Add(first.offset, first.time, first.batch), w.Add(first.offset+2, first.time, first.batch))
		},
		"back in time": func(w *rawfile.Writer) error {
			return errors.Join(w.Add(first.offset, first.time, first.batch), w.Add(second.offset, first.time-1, second.batch))
		},
		"too few": func(w *rawfile.Writer) error {
			err := w.Add(first.offset, first.time, first.batch)
			_, closing := w.Close()
			return errors.Join(err, closing)
		},
		"too many": func(w *rawfile.Writer) error {
			for _, r := range all {
				if err := w.Add(r.offset, r.time, r.batch); err != nil {
					t.Error(err)
				}
			}
			return w.Add(44, all[2].time, all[2].batch)
		},
	} {
		writer, err := rawfile.NewWriter(io.Discard, testName(3), "test")
		if err != nil {
			t.Fatal(err)
		}
		if err := add(writer); !errors.Is(err, rawfile.ErrBatch) {
			t.Errorf("%s: got %v, want ErrBatch", name, err)
		}
	}
}

func readAll(t *testing.T, data []byte, name rawfile.Name) error {
	for _, err := range rawfile.Read(t.Context(), bytes.NewReader(data), int64(len(data)), name) {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestDamageIsFound(t *testing.T) {
	data := write(t, records(t, 4, 20))
	for at := range data {
		spoiled := bytes.Clone(data)
		spoiled[at] ^= 1 << (at % 8)
		if err := readAll(t, spoiled, testName(4)); !errors.Is(err, rawfile.ErrDamaged) {
			t.Fatalf("byte %d of %d: got %v, want ErrDamaged", at, len(data), err)
		}
	}
	for _, size := range []int{0, 10, len(data) / 2, len(data) - 1} {
		if err := readAll(t, data[:size], testName(4)); !errors.Is(err, rawfile.ErrDamaged) {
			t.Errorf("cut to %d: got %v, want ErrDamaged", size, err)
		}
	}
	for name, change := range map[string]func(*rawfile.Name){
		"partition":   func(n *rawfile.Name) { n.Partition++ },
		"incarnation": func(n *rawfile.Name) { n.Incarnation = "00fe" },
		"first":       func(n *rawfile.Name) { n.First++ },
		"next":        func(n *rawfile.Name) { n.Next++ },
	} {
		other := testName(4)
		change(&other)
		if err := readAll(t, data, other); !errors.Is(err, rawfile.ErrDamaged) {
			t.Errorf("under a name with another %s: got %v, want ErrDamaged", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	name := testName(100)
	object, err := name.Object()
	if err != nil {
		t.Fatal(err)
	}
	if want := "raw/partition=0003/date=2026-11-12/00ff-00000000000000000041-00000000000000000141.parquet"; object != want {
		t.Errorf("got %s, want %s", object, want)
	}
	if got, err := rawfile.ParseName(object); err != nil || got != name {
		t.Errorf("got %+v, %v; want %+v", got, err, name)
	}
	for _, bad := range []string{
		"", object + "x", object[1:],
		"raw/partition=00003/date=2026-11-12/00ff-00000000000000000041-00000000000000000141.parquet",
		"raw/partition=0003/date=2026-11-31/00ff-00000000000000000041-00000000000000000141.parquet",
		"raw/partition=0003/date=2026-11-12/00ff-00000000000000000041-00000000000000000041.parquet",
		"raw/partition=0003/date=2026-11-12/00ff-00000000000000000041-99999999999999999999.parquet",
	} {
		if got, err := rawfile.ParseName(bad); !errors.Is(err, rawfile.ErrName) {
			t.Errorf("%q: got %+v, %v; want ErrName", bad, got, err)
		}
	}
	for _, bad := range []rawfile.Name{{Incarnation: "a"}, {Incarnation: "A", Next: 1}, {Incarnation: "a/b", Next: 1}, {Partition: -1, Incarnation: "a", Next: 1}, {Incarnation: "a", Next: 1, Date: 5}} {
		if _, err := bad.Object(); !errors.Is(err, rawfile.ErrName) {
			t.Errorf("%+v: got %v, want ErrName", bad, err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	all := records(b, 100, 5_000)
	var data []byte
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		data = write(b, all)
	}
	b.ReportMetric(float64(b.N*500_000)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(len(data))/500_000, "bytes/event")
}

func BenchmarkRead(b *testing.B) {
	data := write(b, records(b, 100, 5_000))
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		for _, err := range rawfile.Read(b.Context(), bytes.NewReader(data), int64(len(data)), testName(100)) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*500_000)/b.Elapsed().Seconds(), "events/s")
}
