package shardproxy

import (
	"errors"
	"testing"

	"github.com/quipudb/quipu/mysql"
)

// Verdicts are logged when they change, and when a database can't be used from the start: a wrong password must not be silent.
func TestVerdictsThatAreLogged(t *testing.T) {
	down := errors.New("access denied")
	for name, test := range map[string]struct {
		probes []error
		want   []bool
	}{
		"never there":     {[]error{down, down, down, down, down}, []bool{false, false, true, false, false}},
		"late":            {[]error{down, nil, nil, nil}, []bool{false, false, true, false}},
		"up, down and up": {[]error{nil, nil, down, down, down, down, nil, nil}, []bool{false, true, false, false, true, false, false, true}},
	} {
		h := &health{}
		for i, err := range test.probes {
			after := h.next(&mysql.Health{}, mysql.Replication{}, err)
			if got := after.isNews(h); got != test.want[i] {
				t.Errorf("%s: probe %d: got %t, want %t", name, i+1, got, test.want[i])
			}
			h = after
		}
	}
}
