//go:build !soak

package scenario_test

import "time"

// How much the scenarios do in make test.
const (
	soak        = false
	hourlyDays  = 60
	hourlyKeys  = 6
	heldBack    = 10 * time.Second // of a replica that is promoted
	killsOfEach = 1
)
