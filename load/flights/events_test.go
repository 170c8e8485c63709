package flights_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load/flights"
)

func TestEventsOfAFlight(t *testing.T) {
	at := time.Date(2001, time.June, 24, 12, 34, 0, 0, time.UTC)
	f := flights.Flight{Row: 2_880_452, Time: at, DelayMinutes: -7, DistanceMiles: 2176, Origin: "LAS", Destination: "PHL"}
	want := [2]event.Event{
		{Type: "departure", Key: "LAS", ID: "flights-3m:2880452", TimeMs: at.Add(week).UnixMilli(), Value: -7, HasValue: true, Weight: 1},
		{Type: "route", Key: "LAS-PHL", ID: "flights-3m:2880452", TimeMs: at.Add(week).UnixMilli(), Value: 2176, HasValue: true, Weight: 1},
	}
	if diff := cmp.Diff(want, flights.Events(f, week)); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

func TestEventIDsDoNotDependOnTheShift(t *testing.T) {
	for f, err := range flights.Sample() {
		if err != nil {
			t.Fatal(err)
		}
		a, b := flights.Events(f, 0), flights.Events(f, 1287*week)
		for i := range a {
			if a[i].ID != b[i].ID || a[i].Type != b[i].Type || a[i].Key != b[i].Key {
				t.Fatalf("got %+v and %+v, want the same identity (INV-1)", a[i], b[i])
			}
		}
	}
}

func TestEventsOfTheSampleAreValidAndDistinct(t *testing.T) {
	types := map[string]event.Type{}
	for _, typ := range flights.Types() {
		if err := typ.Validate(); err != nil {
			t.Error(err)
		}
		types[typ.Name] = typ
	}
	now := time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)
	_, last := flights.Span()
	shift := flights.Shift(last, now)
	type identity struct{ typ, key, id string }
	seen := make(map[identity]bool, 2*flights.SampleRows)
	for f, err := range flights.Sample() {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range flights.Events(f, shift) {
			if problem := invalid(e, types, now); problem != "" {
				t.Fatalf("%+v: %s", e, problem)
			}
			seen[identity{e.Type, e.Key, e.ID}] = true
		}
	}
	if got, want := len(seen), 2*flights.SampleRows; got != want {
		t.Errorf("got %d distinct events, want %d", got, want)
	}
}

func invalid(e event.Event, types map[string]event.Type, now time.Time) string {
	typ, known := types[e.Type]
	age := now.Sub(time.UnixMilli(e.TimeMs))
	switch {
	case !known:
		return "its type is not among Types"
	case e.Key == "" || len(e.Key) > event.MaxKeyBytes || !utf8.ValidString(e.Key):
		return "its key is out of bounds"
	case e.ID == "" || len(e.ID) > event.MaxIDBytes || strings.ContainsAny(e.ID, " \t\n"):
		return "its id is out of bounds"
	case !e.HasValue || e.Value < -event.MaxValue || e.Value > event.MaxValue:
		return "its value is missing or out of bounds"
	case e.Weight != 1:
		return "its weight is not 1"
	case age <= 0 || age > typ.AcceptLate:
		return "its time would not be accepted"
	}
	return ""
}
