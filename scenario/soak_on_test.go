//go:build soak

package scenario_test

// How much the scenarios do in make soak.
const (
	soak        = true
	hourlyDays  = 1098
	hourlyKeys  = 60
	killsOfEach = 20
)
