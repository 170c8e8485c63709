package rawspan_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/blob/rawspan"
)

func TestNames(t *testing.T) {
	want := rawspan.Span{Partition: 3, Date: "2026-11-22", Incarnation: "01a-b_c", First: 5, Next: 1 << 63}
	name := want.Name()
	if name != "raw/partition=0003/date=2026-11-22/01a-b_c-00000000000000000005-09223372036854775808.parquet" {
		t.Errorf("got %s", name)
	}
	got, err := rawspan.Parse(name)
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if got.Day().Unix() != 1_795_305_600 || rawspan.DateOf(1_795_305_600_000-1) != "2026-11-21" {
		t.Errorf("got day %v", got.Day())
	}
}

func TestOtherNamesAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "raw/partition=0003/date=2026-11-22/a-1-2.parquet",
		"raw/partition=3/date=2026-11-22/a-00000000000000000005-00000000000000000006.parquet",
		"raw/partition=0003/date=2026-13-22/a-00000000000000000005-00000000000000000006.parquet",
		"raw/partition=0003/date=2026-11-22/a-00000000000000000005-00000000000000000005.parquet",
		"raw/partition=0003/date=2026-11-22/a-00000000000000000000-00000000000000000005.parquet",
		"raw/partition=0003/date=2026-11-22/a-99999999999999999999-99999999999999999999.parquet",
		"raw/partition=0003/date=2026-11-22/-00000000000000000005-00000000000000000006.parquet",
		"raw/partition=0003/date=2026-11-22/a-00000000000000000005-00000000000000000006.parquet.tmp",
		"x/raw/partition=0003/date=2026-11-22/a-00000000000000000005-00000000000000000006.parquet",
	} {
		if got, err := rawspan.Parse(name); !errors.Is(err, rawspan.ErrName) {
			t.Errorf("%q: got %+v, %v", name, got, err)
		}
	}
}

func TestCover(t *testing.T) {
	span := func(first, next uint64) rawspan.Span { return rawspan.Span{First: first, Next: next} }
	for name, test := range map[string]struct {
		spans []rawspan.Span
		want  rawspan.Coverage
	}{
		"none":       {nil, rawspan.Coverage{}},
		"one":        {[]rawspan.Span{span(3, 7)}, rawspan.Coverage{First: 3, Next: 7}},
		"unsorted":   {[]rawspan.Span{span(7, 9), span(3, 7)}, rawspan.Coverage{First: 3, Next: 9}},
		"the same":   {[]rawspan.Span{span(3, 7), span(3, 7)}, rawspan.Coverage{First: 3, Next: 7}},
		"overlap":    {[]rawspan.Span{span(3, 9), span(3, 7), span(9, 11), span(7, 10)}, rawspan.Coverage{First: 3, Next: 11}},
		"one within": {[]rawspan.Span{span(3, 90), span(5, 7), span(90, 91)}, rawspan.Coverage{First: 3, Next: 91}},
		"gap": {
			[]rawspan.Span{span(20, 30), span(1, 5), span(6, 20)},
			rawspan.Coverage{First: 1, Next: 30, Gaps: []rawspan.Gap{{From: 5, To: 6}}},
		},
	} {
		if diff := cmp.Diff(test.want, rawspan.Cover(test.spans)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
