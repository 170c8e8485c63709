package flights_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/load/flights"
)

func TestKeysCSVNamesEveryKeyOfTheSample(t *testing.T) {
	var b bytes.Buffer
	if err := flights.KeysCSV(&b); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"type", "key", "title", "owner"}, records[0]); diff != "" {
		t.Errorf("header differs (-want +got):\n%s", diff)
	}
	records = records[1:]
	if got, want := len(records), 221+3_189; got != want {
		t.Errorf("got %d keys, want %d", got, want)
	}
	if !slices.IsSortedFunc(records, func(a, b []string) int { return slices.Compare(a[:2], b[:2]) }) {
		t.Error("the keys are not sorted by type and key")
	}
	named := map[[2]string][2]string{}
	for _, r := range records {
		if r[2] == "" || len(r[3]) != 2 {
			t.Errorf("got %q, want a title and a state", r)
		}
		named[[2]string{r[0], r[1]}] = [2]string{r[2], r[3]}
	}
	for f, err := range flights.Sample() {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range flights.Events(f, 0) {
			if _, ok := named[[2]string{e.Type, e.Key}]; !ok {
				t.Fatalf("%s %s is not named", e.Type, e.Key)
			}
		}
	}
	for key, want := range map[[2]string][2]string{
		{"departure", "LAS"}: {"McCarran International", "NV"},
		{"departure", "BTR"}: {"Baton Rouge Metropolitan, Ryan", "LA"},
		{"route", "LAS-PHL"}: {"Las Vegas → Philadelphia", "NV"},
	} {
		if got := named[key]; got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

func TestWriteKeysOfAnUnlistedAirport(t *testing.T) {
	var b bytes.Buffer
	err := flights.WriteKeys(&b, sequence(nil, flights.Flight{Origin: "QQQ", Destination: "LAS"}, flights.Flight{Origin: "LAS", Destination: "QQQ"}))
	want := "type,key,title,owner\n" +
		"departure,LAS,McCarran International,NV\n" +
		"departure,QQQ,QQQ,\n" +
		"route,LAS-QQQ,Las Vegas → QQQ,NV\n" +
		"route,QQQ-LAS,QQQ → Las Vegas,\n"
	if diff := cmp.Diff(want, b.String()); err != nil || diff != "" {
		t.Errorf("got error %v, keys differ (-want +got):\n%s", err, diff)
	}
}

func TestWriteKeysReportsErrors(t *testing.T) {
	broken := errors.New("broken")
	var b bytes.Buffer
	if err := flights.WriteKeys(&b, sequence(broken, flights.Flight{Origin: "LAS", Destination: "PHL"})); !errors.Is(err, broken) || b.Len() > 0 {
		t.Errorf("got error %v and %q, want the error of the flights and nothing written", err, b.String())
	}
	if err := flights.KeysCSV(refusing{broken}); !errors.Is(err, broken) {
		t.Errorf("got error %v, want the error of the writer", err)
	}
}

// sequence yields the given flights and then err, if there is one.
func sequence(err error, some ...flights.Flight) iter.Seq2[flights.Flight, error] {
	return func(yield func(flights.Flight, error) bool) {
		for _, f := range some {
			if !yield(f, nil) {
				return
			}
		}
		if err != nil {
			yield(flights.Flight{}, err)
		}
	}
}

type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }
