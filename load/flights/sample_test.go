package flights_test

import (
	"cmp"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/load/flights"
)

type figures struct {
	Rows, Delay, Distance int
	Origins, Routes       int
	Busiest               []string
	BusiestFlights        int
	Days                  [7]int // from Sunday
}

func figuresOf(t *testing.T) figures {
	t.Helper()
	var got figures
	origins, routes := map[string]int{}, map[string]int{}
	for f, err := range flights.Sample() {
		if err != nil {
			t.Fatal(err)
		}
		got.Rows++
		got.Delay += f.DelayMinutes
		got.Distance += f.DistanceMiles
		got.Days[f.Time.Weekday()]++
		origins[f.Origin]++
		routes[f.Route()]++
	}
	byFlights := slices.SortedFunc(maps.Keys(origins), func(a, b string) int { return cmp.Compare(origins[b], origins[a]) })
	got.Origins, got.Routes = len(origins), len(routes)
	got.Busiest, got.BusiestFlights = byFlights[:3], origins[byFlights[0]]
	return got
}

func TestSampleHoldsTheWholeWeek(t *testing.T) {
	want := figures{
		Rows: flights.SampleRows, Delay: 770_522, Distance: 88_445_548, Origins: 221, Routes: 3_189,
		Busiest: []string{"ORD", "DFW", "ATL"}, BusiestFlights: 6_788,
		Days: [7]int{16_835, 17_386, 17_374, 17_351, 17_422, 17_548, 15_626},
	}
	if diff := gocmp.Diff(want, figuresOf(t)); diff != "" {
		t.Errorf("sample differs (-want +got):\n%s", diff)
	}
}

func TestSampleIsOrderedAndNumberedAsInTheWhole(t *testing.T) {
	first, last := flights.SampleSpan()
	want := flights.Flight{Row: flights.SampleFirstRow, Time: first, DelayMinutes: 29, DistanceMiles: 629, Origin: "LAS", Destination: "DEN"}
	airports := flights.Airports()
	previous := flights.Flight{Row: flights.SampleFirstRow - 1, Time: first}
	for f, err := range flights.Sample() {
		if err != nil {
			t.Fatal(err)
		}
		if f.Row == flights.SampleFirstRow && f != want {
			t.Errorf("got first flight %+v, want %+v", f, want)
		}
		if f.Row != previous.Row+1 || f.Time.Before(previous.Time) {
			t.Fatalf("got %+v after %+v, want the next row, not earlier", f, previous)
		}
		if f.Time.Location() != time.UTC || !f.Time.Equal(f.Time.Truncate(time.Minute)) {
			t.Fatalf("got time %s, want whole minutes of UTC", f.Time)
		}
		if f.DistanceMiles <= 0 || airports[f.Origin].IATA != f.Origin || airports[f.Destination].IATA != f.Destination {
			t.Fatalf("got %+v, want a distance and airports that are listed", f)
		}
		previous = f
	}
	if !previous.Time.Equal(last) || previous.Row != flights.SampleFirstRow+flights.SampleRows-1 {
		t.Errorf("got last flight %+v, want it at %s", previous, last)
	}
}

func TestSampleMayBeLeftEarly(t *testing.T) {
	var got int
	for _, err := range flights.Sample() {
		if err != nil {
			t.Fatal(err)
		}
		if got++; got == 3 {
			break
		}
	}
	if got != 3 {
		t.Errorf("got %d flights, want 3", got)
	}
}

func TestAirports(t *testing.T) {
	airports := flights.Airports()
	if len(airports) != 229 {
		t.Errorf("got %d airports, want 229", len(airports))
	}
	for _, want := range []flights.Airport{
		{"LAS", "McCarran International", "Las Vegas", "NV"},
		{"BTR", "Baton Rouge Metropolitan, Ryan", "Baton Rouge", "LA"},
		{"MQT", "Marquette County Airport", "Marquette", "MI"},
	} {
		if got := airports[want.IATA]; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for code, a := range airports {
		if len(code) != 3 || a.IATA != code || a.Name == "" || a.City == "" || len(a.State) != 2 || a.State == "NA" {
			t.Errorf("got airport %q: %+v, want code, name, city and a state of two letters", code, a)
		}
	}
	clear(airports)
	if len(flights.Airports()) == 0 {
		t.Error("clearing the map that was handed out emptied the next one")
	}
}
