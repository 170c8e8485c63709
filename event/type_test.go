package event_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quipudb/quipu/event"
)

func TestTypeIsValidated(t *testing.T) {
	good := event.Type{Name: "view", Unit: "ms", Description: "a video was watched – for so long", AcceptLate: event.DefaultAcceptLate}
	if err := good.Validate(); err != nil {
		t.Errorf("got %v for %+v, want none", err, good)
	}
	for want, change := range map[string]func(*event.Type){
		`name "View" must be a lower-case letter`:                  func(t *event.Type) { t.Name = "View" },
		"unit has 33 bytes, the limit is 32":                       func(t *event.Type) { t.Unit = strings.Repeat("m", 33) },
		"description has 256 bytes, the limit is 255":              func(t *event.Type) { t.Description = strings.Repeat("d", 256) },
		`unit "m\n" must be one line`:                              func(t *event.Type) { t.Unit = "m\n" },
		`description "a\x1b[31m" must be one line`:                 func(t *event.Type) { t.Description = "a\x1b[31m" },
		`unit "\xff" must be one line of UTF-8`:                    func(t *event.Type) { t.Unit = "\xff" },
		"accept_late is 30s, it must be between 1m and 7320d":      func(t *event.Type) { t.AcceptLate = 30 * time.Second },
		"accept_late is 7320d1ns, it must be between 1m and 7320d": func(t *event.Type) { t.AcceptLate = event.MaxAcceptLate + 1 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); !errors.Is(err, event.ErrType) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrType and %q", err, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 500 * time.Millisecond: "500ms", 90 * time.Minute: "1h30m", 5 * time.Minute: "5m", time.Hour: "1h", 36 * time.Hour: "1d12h",
		7 * 24 * time.Hour: "7d", 24*time.Hour + time.Second: "1d1s", 61 * time.Second: "1m1s",
	} {
		if got := event.FormatDuration(d); got != want {
			t.Errorf("got %q for %v, want %q", got, d, want)
		}
	}
}
