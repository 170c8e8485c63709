package flights

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
)

// KeysCSV writes title and owner of every key of the sample, in the form that quipu keys import reads.
func KeysCSV(w io.Writer) error { return WriteKeys(w, Sample()) }

// WriteKeys writes title and owner of every key of the given flights as CSV with the header type,key,title,owner, sorted by
// type and key: a departure's title is the airport's name and its owner the airport's state; a route's title names both cities
// and its owner is the state of the origin. An airport that is not listed is titled by its code and has no owner.
func WriteKeys(w io.Writer, flights iter.Seq2[Flight, error]) error {
	type route struct{ origin, destination string }
	origins, routes := map[string]bool{}, map[route]bool{}
	for f, err := range flights {
		if err != nil {
			return fmt.Errorf("collect keys of flights: %w", err)
		}
		origins[f.Origin] = true
		routes[route{f.Origin, f.Destination}] = true
	}
	airports := Airports()
	records := [][]string{{"type", "key", "title", "owner"}}
	for _, code := range slices.Sorted(maps.Keys(origins)) {
		records = append(records, []string{DepartureType, code, orCode(airports[code].Name, code), airports[code].State})
	}
	titles := make(map[string][]string, len(routes))
	for r := range routes {
		title := orCode(airports[r.origin].City, r.origin) + " → " + orCode(airports[r.destination].City, r.destination)
		key := Flight{Origin: r.origin, Destination: r.destination}.Route()
		titles[key] = []string{RouteType, key, title, airports[r.origin].State}
	}
	for _, key := range slices.Sorted(maps.Keys(titles)) {
		records = append(records, titles[key])
	}
	if err := csv.NewWriter(w).WriteAll(records); err != nil {
		return fmt.Errorf("write keys of flights: %w", err)
	}
	return nil
}

func orCode(name, code string) string {
	if name == "" {
		return code
	}
	return name
}
