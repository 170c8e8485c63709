package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"
)

// Bounds of what one call drops.
const (
	droppedAtOnce  = 24      // time partitions
	releasedAtOnce = 200_000 // rows of restored ranges
)

// ArchiveDropped counts what was dropped; Again says that there is more.
type ArchiveDropped struct {
	Partitions int
	Rows       int64
	Again      bool
}

// DropArchived drops time partitions of which every row is cold, and deletes rows of ranges that are being released. Nobody may read them any more: the caller
// lets pass the time of the longest read. A reader whose snapshot is older holds the table until it ends, and the drop waits for it in short turns.
func (p *Primary) DropArchived(ctx context.Context, l Leader, of string) (ArchiveDropped, error) {
	table, err := resolutionOf(of)
	if err != nil {
		return ArchiveDropped{}, fmt.Errorf("drop: %w", err)
	}
	// Dropping can't be part of a transaction. That is no matter: what is cold in this database stays so, whoever leads.
	err = p.archiving(ctx, l, func(context.Context, *transaction) error { return nil })
	var out ArchiveDropped
	if err == nil {
		out.Partitions, out.Again, err = p.dropTimePartitions(ctx, table)
	}
	if err == nil {
		err = p.release(ctx, l, table, &out)
	}
	if err != nil {
		return ArchiveDropped{}, fmt.Errorf("drop cold %s rows: %w", of, err)
	}
	return out, nil
}

func (p *Primary) dropTimePartitions(ctx context.Context, table resolution) (dropped int, again bool, err error) {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	err = p.withTimePartitions(ctx, func(conn *sqlx.Conn) error {
		marks, err := readMarks(ctx, conn, "")
		if err != nil {
			return err
		}
		all, err := timePartitionsOf(ctx, conn, table)
		if err != nil {
			return err
		}
		names := coldOnes(all, marks.of(table).ColdBefore)
		if again = len(names) > droppedAtOnce; again {
			names = names[:droppedAtOnce]
		}
		if len(names) == 0 {
			return nil
		}
		p.ranges.forget()
		if err := alterPatiently(ctx, conn, fmt.Sprintf("ALTER TABLE %s DROP PARTITION %s", table.table, strings.Join(names, ", "))); err != nil {
			return err
		}
		dropped = len(names)
		p.log.Info("dropped time partitions", "database", p.db.cfg.ID, "table", table.table, "partitions", dropped, "last", names[dropped-1])
		return nil
	})
	return dropped, again, err
}

// coldOnes names the time partitions that end at or before a mark. The newest always stays: a table needs one, and the next ones follow it.
func coldOnes(all []TimePartition, coldBefore int64) []string {
	var names []string
	for i := range all {
		if all[i].To <= coldBefore && coldBefore > 0 && i < len(all)-1 {
			names = append(names, "`"+all[i].Name+"`")
		}
	}
	return names
}

var errNothing = errors.New("there is nothing to do")

// release deletes rows of ranges that are being released, and the range with its last row, in short transactions.
func (p *Primary) release(ctx context.Context, l Leader, table resolution, out *ArchiveDropped) error {
	for out.Rows < releasedAtOnce {
		var n int64
		err := p.archiving(ctx, l, func(ctx context.Context, tx *transaction) (err error) {
			n, err = tx.releaseSome(ctx, table)
			return err
		})
		if errors.Is(err, errNothing) {
			return nil
		}
		if err != nil {
			return err
		}
		out.Rows += n
	}
	out.Again = true
	return nil
}

func (t *transaction) releaseSome(ctx context.Context, table resolution) (int64, error) {
	ranges, err := readRestored(ctx, t.conn, "WHERE resolution = ? AND state = ?", resolutionNames[table], rangeReleasing)
	if err != nil {
		return 0, err
	}
	if len(ranges) == 0 {
		return 0, errNothing
	}
	n, err := t.affecting(ctx, fmt.Sprintf("DELETE FROM %s WHERE start >= %s AND start < %s LIMIT %d",
		table.restored, appendTime(nil, ranges[0].From), appendTime(nil, ranges[0].To), deletedAtOnce))
	if err != nil || n == deletedAtOnce {
		return n, err
	}
	return n, t.exec(ctx, "DELETE FROM restored_ranges WHERE id = ?", ranges[0].ID)
}
