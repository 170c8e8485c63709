package flights_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/load/flights"
)

// row has the columns of flights-3m.parquet and one more.
type row struct {
	Date        *int64  `parquet:"date,optional,timestamp(microsecond:local)"`
	Carrier     string  `parquet:"carrier"`
	Delay       *int64  `parquet:"delay,optional"`
	Distance    *int64  `parquet:"distance,optional"`
	Origin      *string `parquet:"origin,optional,dict"`
	Destination *string `parquet:"destination,optional,dict"`
}

var start = time.Date(2001, time.January, 1, 0, 1, 0, 0, time.UTC)

func rowOf(f flights.Flight) row {
	return row{
		Date: new(f.Time.UnixMicro()), Carrier: "WN", Delay: new(int64(f.DelayMinutes)), Distance: new(int64(f.DistanceMiles)),
		Origin: new(f.Origin), Destination: new(f.Destination),
	}
}

// made returns n flights, numbered from 0.
func made(n int) []flights.Flight {
	some := make([]flights.Flight, n)
	for i := range some {
		some[i] = flights.Flight{
			Row: int64(i), Time: start.Add(time.Duration(i/3) * time.Minute), DelayMinutes: i%90 - 20, DistanceMiles: 21 + i,
			Origin: fmt.Sprintf("A%02d", i%17), Destination: fmt.Sprintf("B%02d", i%23),
		}
	}
	return some
}

func writeRows[T any](t *testing.T, rows []T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flights.parquet")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := parquet.NewGenericWriter[T](file, parquet.MaxRowsPerRowGroup(700), parquet.PageBufferSize(1024))
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeFlights(t *testing.T, some []flights.Flight) string {
	rows := make([]row, len(some))
	for i, f := range some {
		rows[i] = rowOf(f)
	}
	return writeRows(t, rows)
}

// read returns what ReadParquet yields up to its error.
func read(path string) (all []flights.Flight, err error) {
	for f, err := range flights.ReadParquet(path) {
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
	return all, nil
}

func TestReadParquetYieldsEveryRow(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 700, 701, 2_500} {
		want := made(n)
		got, err := read(writeFlights(t, want))
		if err != nil {
			t.Fatalf("%d rows: %v", n, err)
		}
		if len(got) != n {
			t.Fatalf("got %d rows, want %d", len(got), n)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%d rows: got %+v, want %+v", n, got[i], want[i])
			}
		}
	}
}

func TestReadParquetMayBeLeftEarly(t *testing.T) {
	var got []int64
	for f, err := range flights.ReadParquet(writeFlights(t, made(2_000))) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, f.Row); len(got) == 2 {
			break
		}
	}
	if diff := cmp.Diff([]int64{0, 1}, got); diff != "" {
		t.Errorf("rows differ (-want +got):\n%s", diff)
	}
}

func TestReadParquetNamesTheRowThatIsNoFlight(t *testing.T) {
	for _, c := range []struct {
		name    string
		spoil   func(*row)
		message string
	}{
		{"no date", func(r *row) { r.Date = nil }, "row 900: invalid flight: date is missing"},
		{"no delay", func(r *row) { r.Delay = nil }, "row 900: invalid flight: delay is missing"},
		{"no distance", func(r *row) { r.Distance = nil }, "row 900: invalid flight: distance is missing"},
		{"no origin", func(r *row) { r.Origin = nil }, "row 900: invalid flight: origin is missing"},
		{"empty destination", func(r *row) { r.Destination = new("") }, `row 900: invalid flight: destination "" is not an airport code`},
		{"long origin", func(r *row) { r.Origin = new("LASV") }, `row 900: invalid flight: origin "LASV" is not an airport code`},
		{"small letters", func(r *row) { r.Origin = new("las") }, `row 900: invalid flight: origin "las" is not an airport code`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rows []row
			for _, f := range made(1_000) {
				rows = append(rows, rowOf(f))
			}
			c.spoil(&rows[900])
			got, err := read(writeRows(t, rows))
			if !errors.Is(err, flights.ErrFlight) || !strings.Contains(err.Error(), c.message) {
				t.Errorf("got error %v, want one that says %q", err, c.message)
			}
			if len(got) != 900 {
				t.Errorf("got %d flights before the error, want 900", len(got))
			}
		})
	}
}

func TestReadParquetRefusesOtherColumns(t *testing.T) {
	type noOrigin struct {
		Date int64 `parquet:"date,timestamp(microsecond)"`
	}
	type textDate struct {
		Date        string `parquet:"date"`
		Delay       int64  `parquet:"delay"`
		Distance    int64  `parquet:"distance"`
		Origin      string `parquet:"origin"`
		Destination string `parquet:"destination"`
	}
	type milliDate struct {
		Date        int64  `parquet:"date,timestamp(millisecond)"`
		Delay       int64  `parquet:"delay"`
		Distance    int64  `parquet:"distance"`
		Origin      string `parquet:"origin"`
		Destination string `parquet:"destination"`
	}
	type plainDate struct {
		Date        int64  `parquet:"date"`
		Delay       int64  `parquet:"delay"`
		Distance    int64  `parquet:"distance"`
		Origin      string `parquet:"origin"`
		Destination string `parquet:"destination"`
	}
	for name, path := range map[string]string{
		"missing":      writeRows(t, []noOrigin{{1}}),
		"text":         writeRows(t, []textDate{{Date: "2001-01-01"}}),
		"milliseconds": writeRows(t, []milliDate{{Date: 1}}),
		"no timestamp": writeRows(t, []plainDate{{Date: 1}}),
	} {
		if got, err := read(path); !errors.Is(err, flights.ErrColumns) || len(got) > 0 {
			t.Errorf("%s: got %d flights and error %v, want ErrColumns", name, len(got), err)
		}
	}
}

func TestReadParquetRefusesWhatIsNoParquetFile(t *testing.T) {
	if _, err := read(filepath.Join(t.TempDir(), "none.parquet")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: got error %v, want fs.ErrNotExist", err)
	}
	for name, content := range map[string]string{"empty": "", "text": "date,delay\n", "magic only": "PAR1PAR1PAR1PAR1"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := read(path); err == nil || len(got) > 0 || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %d flights and error %v, want an error that names the file", name, len(got), err)
		}
	}
}

func TestReadParquetSurvivesDamage(t *testing.T) {
	whole, err := os.ReadFile(writeFlights(t, made(2_500)))
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "damaged.parquet")
	refused := 0
	for range 400 {
		damaged := append([]byte(nil), whole...)
		for range 1 + random.IntN(4) {
			damaged[random.IntN(len(damaged))] ^= byte(1 + random.IntN(255))
		}
		if random.IntN(8) == 0 {
			damaged = damaged[:random.IntN(len(damaged))]
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := read(path); err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no damage at all was noticed")
	}
}
