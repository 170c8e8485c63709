//go:build !soak

package scenario_test

// How much the scenarios do in make test.
const (
	soak        = false
	killsOfEach = 1
)
