package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Checkpoint is the stored state of a partition.
type Checkpoint struct {
	Partition   int    `db:"partition_id"`
	Owned       bool   `db:"owned"`
	Epoch       uint64 `db:"epoch"`
	NextOffset  uint64 `db:"next_offset"`
	WindowFrom  uint64 `db:"window_from"`
	AsOf        int64  `db:"as_of"`
	Incarnation string `db:"incarnation"`
	Checksum    uint32 `db:"checksum"`
	Owner       string `db:"owner"`
}

const checkpointColumns = "partition_id, owned, epoch, next_offset, window_from, as_of, incarnation, checksum, owner"

// Checkpoints returns the checkpoints of every partition that the shard owns, as this database has them, by partition.
func (d *DB) Checkpoints(ctx context.Context) ([]Checkpoint, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var all []Checkpoint
	if err := d.sql.SelectContext(ctx, &all, "SELECT "+checkpointColumns+" FROM checkpoints WHERE owned ORDER BY partition_id"); err != nil {
		return nil, fmt.Errorf("read checkpoints of %s: %w", d.cfg.ID, meaning(err))
	}
	return all, nil
}

// Claim makes owner the only one who may apply to a partition: the stored epoch becomes max(stored + 1, minEpoch). After
// ErrUnknownOutcome the claim may have been taken; claim again.
func (p *Primary) Claim(ctx context.Context, partition int, owner string, minEpoch uint64) (Checkpoint, error) {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	var claimed Checkpoint
	err := p.retrying(ctx, func() error {
		return p.db.transaction(ctx, func(tx *transaction) error {
			stored, err := tx.checkpoint(ctx, partition, "FOR UPDATE")
			if err != nil {
				return err
			}
			stored.Epoch, stored.Owner = max(stored.Epoch+1, minEpoch), owner
			claimed = stored
			return tx.exec(ctx, "UPDATE checkpoints SET epoch = ?, owner = ? WHERE partition_id = ?", stored.Epoch, owner, partition)
		})
	})
	if err != nil {
		return Checkpoint{}, fmt.Errorf("claim partition %d: %w", partition, err)
	}
	return claimed, nil
}

// checkpoint reads a partition's row within the transaction, with a lock or as it was last committed.
func (t *transaction) checkpoint(ctx context.Context, partition int, lock string) (Checkpoint, error) {
	var stored Checkpoint
	row := t.conn.QueryRowxContext(ctx, "SELECT "+checkpointColumns+" FROM checkpoints WHERE partition_id = ? "+lock, partition)
	err := row.StructScan(&stored)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && !stored.Owned) {
		return stored, &CheckpointError{Reason: ErrMisrouted, Stored: Checkpoint{Partition: partition}}
	}
	return stored, meaning(err)
}
