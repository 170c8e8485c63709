//go:build soak

package scenario_test

import "time"

// How much the scenarios do in make soak.
const (
	soak        = true
	hourlyDays  = 1098
	hourlyKeys  = 60
	heldBack    = 3 * time.Minute // of a replica that is promoted
	killsOfEach = 20
)
