package flights

import (
	"strconv"
	"time"

	"github.com/quipudb/quipu/event"
)

// Event types of the flights.
const (
	DepartureType = "departure" // key: code of the origin airport; value: delay in minutes, negative when early
	RouteType     = "route"     // key: origin and destination, "LAS-PHL"; value: distance in miles
)

// AcceptLate is how late events of flights are accepted. The whole data set is half a year long and, shifted, ends up to a week before
// it is first loaded; the rest leaves a year in which what followed the sample may come under the same shift.
const AcceptLate = 550 * 24 * time.Hour

const idPrefix = "flights-3m:"

// Types returns the event types to register before flights are sent.
func Types() []event.Type {
	return []event.Type{
		{Name: DepartureType, Unit: "min", AcceptLate: AcceptLate, Description: "A flight took off; key: its airport, value: how many minutes late it arrived"},
		{Name: RouteType, Unit: "mi", AcceptLate: AcceptLate, Description: "A flight took off; key: its route such as LAS-PHL, value: miles"},
	}
}

// Events returns the departure and the route of f, moved in time by shift. Their ids follow from f.Row alone: a flight that is sent
// again within the de-duplication window is a duplicate, whatever its shift.
func Events(f Flight, shift time.Duration) [2]event.Event {
	id := idPrefix + strconv.FormatInt(f.Row, 10)
	at := f.Time.Add(shift).UnixMilli()
	return [2]event.Event{
		{Type: DepartureType, Key: f.Origin, ID: id, TimeMs: at, Value: int64(f.DelayMinutes), HasValue: true, Weight: 1},
		{Type: RouteType, Key: f.Route(), ID: id, TimeMs: at, Value: int64(f.DistanceMiles), HasValue: true, Weight: 1},
	}
}

// Route returns the key of f's route: "LAS-PHL".
func (f Flight) Route() string { return f.Origin + "-" + f.Destination }
