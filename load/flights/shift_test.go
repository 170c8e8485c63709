package flights_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/load/flights"
)

const week = 7 * 24 * time.Hour

func TestShiftEdges(t *testing.T) {
	last := time.Date(2001, time.July, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		now  time.Time
		want time.Duration
	}{
		{"a nanosecond later", last.Add(1), 0},
		{"the same instant", last, -week},
		{"just before", last.Add(-1), -week},
		{"exactly a week later", last.Add(week), 0},
		{"a nanosecond over a week later", last.Add(week + 1), week},
		{"exactly a week before", last.Add(-week), -2 * week},
		{"a nanosecond less than a week before", last.Add(-week + 1), -week},
		{"another time zone", last.Add(week + time.Minute).In(time.FixedZone("", -5*3600)), week},
		{"a quarter of a century later", time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC), 1287 * week},
	} {
		if got := flights.Shift(last, c.now); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestShiftEndsJustBeforeNowOnTheSameWeekdayAndHour(t *testing.T) {
	first, last := flights.Span()
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(0, 4_102_444_800).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		shift := flights.Shift(last, now)
		moved := last.Add(shift)
		if !moved.Before(now) {
			t.Fatalf("the last flight moves to %s, want it before %s", moved, now)
		}
		if moved.Add(week).Before(now) {
			t.Fatalf("the last flight moves to %s, a week more is still before %s", moved, now)
		}
		at := first.Add(time.Duration(rapid.Int64Range(0, int64(last.Sub(first)/time.Minute)).Draw(t, "minute")) * time.Minute)
		if got := at.Add(shift); got.Weekday() != at.Weekday() || got.Hour() != at.Hour() || got.Minute() != at.Minute() {
			t.Fatalf("%s moves to %s, want the same weekday and time of day", at.Format(time.RFC1123), got.Format(time.RFC1123))
		}
		if age := now.Sub(first.Add(shift)); age > flights.AcceptLate {
			t.Fatalf("the first flight moves to %s before now, more than the %s that is accepted", age, flights.AcceptLate)
		}
	})
}
