package mysql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/quipudb/quipu/event"
)

// States of a row of the manifest.
const (
	manifestStored  = "stored"
	manifestRetired = "retired"
)

// store puts the objects of a commit into the manifest. Each must have been announced.
func (t *transaction) store(ctx context.Context, c *ArchiveCommit, now time.Time) error {
	if err := portions(c.names(), func(part []string) error {
		n, err := t.affecting(ctx, "DELETE FROM archive_intents WHERE object IN ("+repeated("?", len(part))+")", anys(part)...)
		if err != nil || n != int64(len(part)) {
			return fmt.Errorf("%d of %d objects were announced: %w", n, len(part), defaultTo(err, ErrConflict))
		}
		return nil
	}); err != nil {
		return err
	}
	type manifestPart struct {
		object *ArchiveObject
		sums   ArchiveSums
	}
	var parts []manifestPart
	for i := range c.Objects {
		for _, sums := range c.Objects[i].Parts {
			parts = append(parts, manifestPart{&c.Objects[i], sums})
		}
	}
	return portions(parts, func(some []manifestPart) error {
		args := make([]any, 0, 12*len(some))
		for _, p := range some {
			o := p.object
			args = append(args, p.sums.Partition, c.Resolution, instant(o.From), instant(o.To), o.Object, o.Bytes, o.SHA256,
				p.sums.Rows, p.sums.EventCount.String(), p.sums.ValueCount.String(), p.sums.ValueSum.String(), now.UTC())
		}
		return t.exec(ctx, `INSERT INTO archive_manifest (partition_id, resolution, range_start, range_end, object, byte_size, checksum,
row_count, event_count_sum, value_count_sum, value_sum_sum, state, changed_at) VALUES `+
			repeated("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'stored', ?)", len(some)), args...)
	})
}

func instant(minute int64) time.Time { return time.Unix(minute*60, 0).UTC() }

// manifestStates returns the states of the rows of objects.
func (t *transaction) manifestStates(ctx context.Context, objects []string) (map[string]map[string]bool, error) {
	states := map[string]map[string]bool{}
	err := portions(objects, func(part []string) error {
		var rows []struct{ Object, State string }
		if err := t.conn.SelectContext(ctx, &rows, "SELECT DISTINCT object, state FROM archive_manifest WHERE object IN ("+repeated("?", len(part))+")", anys(part)...); err != nil {
			return meaning(err)
		}
		for _, r := range rows {
			if states[r.Object] == nil {
				states[r.Object] = map[string]bool{}
			}
			states[r.Object][r.State] = true
		}
		return nil
	})
	return states, err
}

// ManifestRequest asks for rows of the manifest in the order of their ids.
type ManifestRequest struct {
	Resolution string // "": all
	From, To   int64  // minutes that they overlap; To 0: no end
	After      uint64
}

// ManifestRow says what one partition has in one object.
type ManifestRow struct {
	ID         uint64
	Resolution string
	Object     string
	From, To   int64
	Bytes      int64
	SHA256     string // hex
	State      string
	ChangedAt  int64 // ms since 1970
	ArchiveSums
}

// manifestRows selects what scanManifest reads.
var manifestRows = "SELECT id, resolution, object, " + inMinutes("range_start") + ", " + inMinutes("range_end") + `, byte_size, checksum, state,
TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', changed_at) * 1000, partition_id, row_count, event_count_sum, value_count_sum, value_sum_sum
FROM archive_manifest `

// manifestPage is how many rows a page has.
const manifestPage = 2000

// Manifest returns a page, and whether more follow.
func (d *DB) Manifest(ctx context.Context, r *ManifestRequest) (page []ManifestRow, more bool, err error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	to := r.To
	if to <= 0 || to > event.MaxMinute+1 {
		to = event.MaxMinute + 1
	}
	text := manifestRows + "WHERE id > ? AND (? = '' OR resolution = ?) AND range_end > " + string(appendTime(nil, max(r.From, 0))) + " AND range_start < " + string(appendTime(nil, to)) +
		fmt.Sprintf(" ORDER BY id LIMIT %d", manifestPage+1)
	rows, err := d.sql.QueryContext(ctx, text, r.After, r.Resolution, r.Resolution)
	if err != nil {
		return nil, false, fmt.Errorf("read manifest of %s: %w", d.cfg.ID, meaning(err))
	}
	defer rows.Close()
	for rows.Next() {
		row, err := scanManifest(rows)
		if err != nil {
			return nil, false, fmt.Errorf("read manifest of %s: %w", d.cfg.ID, err)
		}
		page = append(page, row)
	}
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("read manifest of %s: %w", d.cfg.ID, meaning(err))
	}
	if len(page) > manifestPage {
		return page[:manifestPage], true, nil
	}
	return page, false, nil
}

func scanManifest(rows *sql.Rows) (r ManifestRow, err error) {
	var checksum []byte
	var sums [3]string
	if err := rows.Scan(&r.ID, &r.Resolution, &r.Object, &r.From, &r.To, &r.Bytes, &checksum, &r.State, &r.ChangedAt,
		&r.Partition, &r.Rows, &sums[0], &sums[1], &sums[2]); err != nil {
		return r, meaning(err)
	}
	r.SHA256 = hex.EncodeToString(checksum)
	for i, into := range []*event.Sum{&r.EventCount, &r.ValueCount, &r.ValueSum} {
		if *into, err = event.ParseSum(sums[i]); err != nil {
			return r, fmt.Errorf("read sum: %w", err)
		}
	}
	return r, nil
}
