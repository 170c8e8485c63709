package mysql

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPieces(t *testing.T) {
	const hour, day = 60, 24 * 60
	marks := watermarks{hour: 100 * day, day: 100 * day}
	usual := placement{watermarks: marks, frozen: [3]int64{92 * day, 50 * day, 0}, cold: [3]int64{90 * day, 40 * day, 0}}
	with := func(ranges ...restoredRange) placement {
		p := usual
		p.restored = ranges
		p.settle()
		return p
	}
	for _, test := range []struct {
		name     string
		place    placement
		from, to int64
		step     Step
		want     []piece
	}{
		{"nothing was ever frozen", placement{watermarks: marks}, day, 2 * day, StepMinute, []piece{{segment{perMinute, day, 2 * day}, hot}}},
		{"young", usual, 95 * day, 96 * day, StepMinute, []piece{{segment{perMinute, 95 * day, 96 * day}, hot}}},
		{"days stay, whatever is cold", usual, 0, 100 * day, StepNone, []piece{{segment{perDay, 0, 100 * day}, hot}}},
		{"minutes across both marks", usual, 89 * day, 93 * day, StepMinute, []piece{
			{segment{perMinute, 89 * day, 90 * day}, cold}, {segment{perMinute, 90 * day, 93 * day}, hot}, {segment{perMinute, 89 * day, 92 * day}, late},
		}},
		{"ragged ends of an old range", usual, 10*day - 1, 12*day + 1, StepNone, []piece{
			{segment{perMinute, 10*day - 1, 10 * day}, cold},
			{segment{perDay, 10 * day, 12 * day}, hot},
			{segment{perMinute, 12 * day, 12*day + 1}, cold},
			{segment{perMinute, 10*day - 1, 10 * day}, late},
			{segment{perMinute, 12 * day, 12*day + 1}, late},
		}},
		{
			"restored ranges that meet", with(restoredRange{0, 80 * day, 81 * day}, restoredRange{0, 79 * day, 80 * day}, restoredRange{1, 0, 100 * day}), 78 * day, 82 * day, StepMinute,
			[]piece{
				{segment{perMinute, 78 * day, 79 * day}, cold},
				{segment{perMinute, 79 * day, 81 * day}, restored},
				{segment{perMinute, 81 * day, 82 * day}, cold},
				{segment{perMinute, 78 * day, 82 * day}, late},
			},
		},
		{"restored rows end at the cold mark", with(restoredRange{0, 89 * day, 95 * day}), 89 * day, 91 * day, StepMinute, []piece{
			{segment{perMinute, 89 * day, 90 * day}, restored}, {segment{perMinute, 90 * day, 91 * day}, hot}, {segment{perMinute, 89 * day, 91 * day}, late},
		}},
		{"restored minutes instead of cold hours, by whole hours", with(restoredRange{0, 30*day + 30, 31*day + 30}), 30 * day, 32 * day, StepHour, []piece{
			{segment{perHour, 30 * day, 30*day + hour}, cold},
			{segment{perMinute, 30*day + hour, 31 * day}, restored},
			{segment{perHour, 31 * day, 32 * day}, cold},
			{segment{perHour, 30 * day, 30*day + hour}, late},
			{segment{perMinute, 30*day + hour, 31 * day}, late},
			{segment{perHour, 31 * day, 32 * day}, late},
		}},
		{
			"hot minutes instead of cold hours",
			placement{watermarks: marks, cold: [3]int64{20 * day, 40 * day, 0}, frozen: [3]int64{20 * day, 40 * day, 0}},
			19 * day, 21 * day, StepHour,
			[]piece{
				{segment{perHour, 19 * day, 20 * day}, cold}, {segment{perMinute, 20 * day, 21 * day}, hot}, {segment{perHour, 19 * day, 20 * day}, late},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.place.pieces(divide(test.from, test.to, test.step, test.place.watermarks))
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(piece{}, segment{}, resolution{})); diff != "" {
				t.Errorf("pieces (-want +got):\n%s", diff)
			}
		})
	}
}
