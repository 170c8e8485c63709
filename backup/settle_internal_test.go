package backup

import "testing"

func TestMergePositions(t *testing.T) {
	for _, test := range []struct{ applied, logged, want string }{
		{"", "", ""},
		{"0-101-5", "", "0-101-5"},
		{"", "0-101-5", "0-101-5"},
		{"0-101-5", "0-102-7", "0-102-7"},
		{"0-102-9, 3-1-1", "0-102-7,1-5-2", "0-102-9,1-5-2,3-1-1"},
		{"10-1-4", "9-1-4", "9-1-4,10-1-4"},
	} {
		if got, err := mergePositions(test.applied, test.logged); err != nil || got != test.want {
			t.Errorf("%q and %q: got %q, %v, want %q", test.applied, test.logged, got, err, test.want)
		}
	}
	for _, bad := range []string{"0-1", "a-1-1", "0-1-b"} {
		if _, err := mergePositions(bad); err == nil {
			t.Errorf("%q is taken for a GTID", bad)
		}
	}
}
