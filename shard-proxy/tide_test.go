package shardproxy

import "testing"

func TestTideTellsWhatAPromotionSetBack(t *testing.T) {
	var tide tide
	for i, step := range []struct {
		term uint64
		asOf map[int]int64
		want bool
	}{
		{1, map[int]int64{1: 100, 2: 50}, false},
		{1, map[int]int64{1: 90}, false}, // a replica that lags within its bound
		{2, map[int]int64{1: 95, 2: 50}, true},
		{2, map[int]int64{2: 51}, false},
		{2, map[int]int64{1: 100}, false},
		{2, map[int]int64{1: 98}, false},
		{3, map[int]int64{1: 99}, true},
		{2, map[int]int64{1: 120}, false}, // a replica that does not know of the third term
		{3, map[int]int64{1: 130, 3: 1}, false},
	} {
		if got := tide.observe(step.term, step.asOf); got != step.want {
			t.Errorf("step %d: got %t, want %t", i, got, step.want)
		}
	}
}
