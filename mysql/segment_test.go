package mysql

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDivide(t *testing.T) {
	const hour, day = 60, 24 * 60
	marks := watermarks{hour: 10*day + 5*hour, day: 10 * day}
	for _, test := range []struct {
		name     string
		from, to int64
		step     Step
		want     []segment
	}{
		{"nothing", 5, 5, StepNone, nil},
		{"minutes stay minutes", 0, 20 * day, StepMinute, []segment{{perMinute, 0, 20 * day}}},
		{"all time", 0, 20 * day, StepNone, []segment{{perDay, 0, 10 * day}, {perHour, 10 * day, 10*day + 5*hour}, {perMinute, 10*day + 5*hour, 20 * day}}},
		{"ragged ends", day - hour - 1, 2*day + hour + 1, StepNone, []segment{
			{perMinute, day - hour - 1, day - hour}, {perHour, day - hour, day}, {perDay, day, 2 * day}, {perHour, 2 * day, 2*day + hour}, {perMinute, 2*day + hour, 2*day + hour + 1},
		}},
		{"within an hour", 61, 119, StepNone, []segment{{perMinute, 61, 119}}},
		{"hours across their watermark", 10 * day, 11 * day, StepHour, []segment{{perHour, 10 * day, 10*day + 5*hour}, {perMinute, 10*day + 5*hour, 11 * day}}},
		{"days across both", 9 * day, 12 * day, StepDay, []segment{{perDay, 9 * day, 10 * day}, {perHour, 10 * day, 10*day + 5*hour}, {perMinute, 10*day + 5*hour, 12 * day}}},
		{"after the watermarks", 11 * day, 12 * day, StepNone, []segment{{perMinute, 11 * day, 12 * day}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := divide(test.from, test.to, test.step, marks)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(segment{}, resolution{})); diff != "" {
				t.Errorf("segments (-want +got):\n%s", diff)
			}
		})
	}
}
