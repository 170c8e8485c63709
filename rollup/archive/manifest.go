package archive

import (
	"context"
	"fmt"

	"github.com/quipudb/quipu/wire"
)

// manifest hands over the rows of a shard's manifest in the order of their ids.
func (a *Archiver) manifest(ctx context.Context, shard string, request wire.ManifestRequest, each func(*wire.ManifestRow) error) error {
	return readManifest(ctx, a.cfg.Shards, shard, request, each)
}

func readManifest(ctx context.Context, shards Shards, shard string, request wire.ManifestRequest, each func(*wire.ManifestRow) error) error {
	for {
		var page wire.ManifestAnswer
		if err := shards.JSON(ctx, shard, wire.PathArchiveManifest, &request, &page); err != nil {
			return fmt.Errorf("read manifest of shard %s: %w", shard, err)
		}
		for i := range page.Rows {
			if err := each(&page.Rows[i]); err != nil {
				return err
			}
			request.After = page.Rows[i].ID
		}
		if !page.More || len(page.Rows) == 0 {
			return nil
		}
	}
}

// entry is an object as a shard's manifest has it.
type entry struct {
	name       string
	resolution string
	day        int64
	bytes      int64
	sha256     string
	state      string
	changedAt  int64 // ms since 1970
	rows       int64 // of all parts
	parts      map[int]wire.ArchiveSums
}

// entries gathers the manifest by object.
func (a *Archiver) entries(ctx context.Context, shard string, request wire.ManifestRequest) (map[string]*entry, error) {
	all := map[string]*entry{}
	err := a.manifest(ctx, shard, request, func(row *wire.ManifestRow) error {
		e := all[row.Object]
		if e == nil {
			e = &entry{
				name: row.Object, resolution: row.Resolution, day: row.From, bytes: row.Bytes, sha256: row.SHA256, state: row.State,
				changedAt: row.ChangedAt, parts: map[int]wire.ArchiveSums{},
			}
			all[row.Object] = e
		}
		e.rows += row.Rows
		e.parts[row.Partition] = row.ArchiveSums
		return nil
	})
	return all, err
}

// stored lists what is to be read.
func stored(entries map[string]*entry) []*entry {
	var all []*entry
	for _, e := range entries {
		if e.state == stateStored {
			all = append(all, e)
		}
	}
	return all
}
