package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/quipudb/quipu/event"
)

const day = 24 * time.Hour

// ParseDuration reads what time.ParseDuration does, and whole days before it: "500ms", "1h30m", "7d", "1d12h".
func ParseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if text == "0" {
		return 0, nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("%q lacks a unit: ms, s, m, h or d", text)
	}
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "", text
	}
	var total time.Duration
	if found {
		n, err := strconv.ParseInt(days, 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%q is no duration: write it like 500ms, 1h30m or 7d", text)
		}
		if n > int64(math.MaxInt64/day) {
			return 0, fmt.Errorf("%q is too long a duration", text)
		}
		total = time.Duration(n) * day
	}
	if rest == "" && found {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: write it like 500ms, 1h30m or 7d", text)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", text)
	}
	if total > math.MaxInt64-d {
		return 0, fmt.Errorf("%q is too long a duration", text)
	}
	return total + d, nil
}

// FormatDuration writes a duration so that ParseDuration reads it: "7d", "1h30m", "500ms".
func FormatDuration(d time.Duration) string { return event.FormatDuration(d) }
