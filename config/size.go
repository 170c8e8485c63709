package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// The units of Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

var sizeUnits = []struct {
	name string
	size Size
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}}

// ParseSize reads a whole number with a unit: "64MiB", "512 KiB", "100B".
func ParseSize(text string) (Size, error) {
	text = strings.TrimSpace(text)
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := text[len(digits):]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no size: write a whole number and a unit, like 64MiB", text)
	}
	if unit == "" && n == 0 {
		return 0, nil
	}
	for _, u := range sizeUnits {
		if unit != u.name {
			continue
		}
		if Size(n) > math.MaxInt64/u.size {
			return 0, fmt.Errorf("%q is too large a size", text)
		}
		return Size(n) * u.size, nil
	}
	if unit == "" {
		return 0, fmt.Errorf("%q lacks a unit: B, KiB, MiB, GiB or TiB", text)
	}
	return 0, fmt.Errorf("%q has the unknown unit %q: use B, KiB, MiB, GiB or TiB", text, unit)
}

// String writes the size in the largest unit that keeps it a whole number.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}
