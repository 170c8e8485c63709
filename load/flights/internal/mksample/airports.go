package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/quipudb/quipu/load/flights"
)

// place is what airports.csv should say about an airport where it says NA.
type place struct{ city, state string }

func corrections() map[string]place {
	return map[string]place{"MQT": {"Marquette", "MI"}}
}

// reduceAirports returns the list of the given airports as CSV, sorted by code.
func reduceAirports(path string, codes map[string]bool) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r := csv.NewReader(file)
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if want := flights.AirportsHeader(); len(header) < len(want) || !slices.Equal(header[:len(want)], want) {
		return nil, fmt.Errorf("read %s: its columns are %q", path, header)
	}
	var airports [][]string
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if codes[record[0]] {
			airports = append(airports, corrected(record[:len(flights.AirportsHeader())]))
		}
	}
	if len(airports) != len(codes) {
		return nil, fmt.Errorf("read %s: it lists %d of %d airports", path, len(airports), len(codes))
	}
	return airportsCSV(airports)
}

func corrected(record []string) []string {
	if p, ok := corrections()[record[0]]; ok {
		record[2], record[3] = p.city, p.state
	}
	return record
}

func airportsCSV(airports [][]string) ([]byte, error) {
	slices.SortFunc(airports, slices.Compare)
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write(flights.AirportsHeader())
	if err := w.WriteAll(airports); err != nil {
		return nil, fmt.Errorf("write airports: %w", err)
	}
	return b.Bytes(), nil
}
