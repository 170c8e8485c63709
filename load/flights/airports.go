package flights

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strings"
)

// airportsCSV lists every airport of the whole data set: iata, name, city, state.
//
//go:embed sample/airports.csv
var airportsCSV string

// Airport is a place that flights take off from and land at.
type Airport struct {
	IATA  string // three letters, "LAS"
	Name  string // "McCarran International"
	City  string // "Las Vegas"
	State string // two letters, territories included: "NV", "PR"
}

// AirportsHeader returns the columns of the list of airports, in order.
func AirportsHeader() []string { return []string{"iata", "name", "city", "state"} }

// Airports returns every airport of the whole data set by its code. The map is the caller's.
func Airports() map[string]Airport {
	records, err := csv.NewReader(strings.NewReader(airportsCSV)).ReadAll()
	if err != nil || len(records) == 0 || len(records[0]) != len(AirportsHeader()) {
		panic(fmt.Sprintf("embedded list of airports is damaged: %d records, %v", len(records), err))
	}
	airports := make(map[string]Airport, len(records))
	for _, r := range records[1:] {
		airports[r[0]] = Airport{IATA: r[0], Name: r[1], City: r[2], State: r[3]}
	}
	return airports
}
