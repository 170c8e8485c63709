//go:build soak

package lifetime_test

const sequences = 2000
