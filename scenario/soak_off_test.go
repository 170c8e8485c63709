//go:build !soak

package scenario_test

// How much the scenarios do in make test.
const (
	soak        = false
	hourlyDays  = 60
	hourlyKeys  = 6
	killsOfEach = 1
)
