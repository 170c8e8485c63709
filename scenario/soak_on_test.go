//go:build soak

package scenario_test

// How much the scenarios do in make soak.
const (
	soak        = true
	killsOfEach = 20
)
