//go:build !soak

package lifetime_test

const sequences = 24
