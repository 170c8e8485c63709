package reader

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/wire"
)

// What is appended by hand is what encoding/json makes of it.
func TestProvenanceByHand(t *testing.T) {
	yes := true
	for name, p := range map[string]wire.Provenance{
		"nothing": {},
		"all": {AsOf: 1_769_880_000_123, Stale: true, Coverage: wire.Coverage{Partitions: 3, Answered: 3}, Sources: []wire.Source{
			{Shard: "s1", Database: "s1-b", Role: "replica", Resolution: "minute+day", AsOf: 1_769_880_000_000},
			{Shard: `s"2`, Role: wire.RoleCache, AsOf: 5},
			{Shard: "s1", Role: wire.RoleCold, Resolution: "hour", Objects: 2, Cached: 1, Bytes: 77},
		}},
	} {
		for _, waited := range []*bool{nil, &yes} {
			got, err := appendProvenance([]byte(`{"value":1`), &p, waited)
			if err != nil {
				t.Fatal(err)
			}
			fields, err := json.Marshal(newProvenance(&p, waited))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(`{"value":1,`+string(fields[1:]), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}
