package archive

import (
	"context"
	"fmt"

	"github.com/quipudb/quipu/wire"
)

// Status is how far a shard's archive came, and what of it is in cold storage.
type Status struct {
	wire.ArchiveState
	Stored []Stored `json:"stored"` // by resolution
}

// Stored counts what the manifest of a shard names.
type Stored struct {
	Resolution string `json:"resolution"`
	Objects    int    `json:"objects"`
	Retired    int    `json:"retired"` // replaced, to be deleted
	Rows       int64  `json:"rows"`
	Bytes      int64  `json:"bytes"`
}

// Look asks a shard; cold storage is not needed.
func Look(ctx context.Context, shards Shards, shard string) (*Status, error) {
	s := &Status{}
	if err := shards.JSON(ctx, shard, wire.PathArchive, nil, &s.ArchiveState); err != nil {
		return nil, fmt.Errorf("ask shard %s for the state of its archive: %w", shard, err)
	}
	for _, resolution := range resolutions {
		sum := Stored{Resolution: resolution}
		seen := map[string]bool{}
		if err := readManifest(ctx, shards, shard, wire.ManifestRequest{Resolution: resolution}, func(row *wire.ManifestRow) error {
			first := !seen[row.Object]
			seen[row.Object] = true
			switch {
			case row.State != stateStored && first:
				sum.Retired++
			case row.State == stateStored:
				sum.Rows += row.Rows
				if first {
					sum.Objects++
					sum.Bytes += row.Bytes
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
		s.Stored = append(s.Stored, sum)
	}
	return s, nil
}
