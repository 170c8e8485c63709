package rawfile_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/blob/rawfile"
)

func TestCover(t *testing.T) {
	file := func(first, next uint64) rawfile.Name { return rawfile.Name{Incarnation: "a", First: first, Next: next} }
	for name, test := range map[string]struct {
		names []rawfile.Name
		want  rawfile.Coverage
	}{
		"none":       {nil, rawfile.Coverage{}},
		"one":        {[]rawfile.Name{file(3, 7)}, rawfile.Coverage{First: 3, Next: 7}},
		"unsorted":   {[]rawfile.Name{file(7, 9), file(3, 7)}, rawfile.Coverage{First: 3, Next: 9}},
		"the same":   {[]rawfile.Name{file(3, 7), file(3, 7)}, rawfile.Coverage{First: 3, Next: 7}},
		"overlap":    {[]rawfile.Name{file(3, 9), file(3, 7), file(9, 11), file(7, 10)}, rawfile.Coverage{First: 3, Next: 11}},
		"one within": {[]rawfile.Name{file(3, 90), file(5, 7), file(90, 91)}, rawfile.Coverage{First: 3, Next: 91}},
		"gap": {
			[]rawfile.Name{file(20, 30), file(1, 5), file(6, 20)},
			rawfile.Coverage{First: 1, Next: 30, Gaps: []rawfile.Gap{{From: 5, To: 6}}},
		},
	} {
		if diff := cmp.Diff(test.want, rawfile.Cover(test.names)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	own := rawfile.OfLog([]rawfile.Name{file(1, 2), {Incarnation: "b", First: 1, Next: 2}}, "a")
	if diff := cmp.Diff([]rawfile.Name{file(1, 2)}, own); diff != "" {
		t.Errorf("of one log (-want +got):\n%s", diff)
	}
}
