package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Ownership is what a shard's primary must hold according to the topology.
type Ownership struct {
	ClusterID  string
	ShardID    string
	Partitions []int     // the shard's own
	CreatedAt  time.Time // of the cluster: nothing was counted before, so watermarks begin there
	// Established says that the cluster knows this shard to have counted before. A database without a state is then one that
	// lost it, and is refused.
	Established bool
}

// EnsureOwnership gives a new shard its state, watermarks and checkpoints, all or nothing, and verifies those of an existing one. It
// never resets or adds a checkpoint once the shard exists: a partition that the shard lacks then has its history
// elsewhere, and comes with it. Call it after the schema was migrated, as an account that owns the schema; repeating it changes nothing.
func EnsureOwnership(ctx context.Context, db *DB, want Ownership) error {
	ctx, cancel := db.bounded(ctx)
	defer cancel()
	err := db.transaction(ctx, func(tx *transaction) error {
		var state struct {
			ClusterID string `db:"cluster_id"`
			ShardID   string `db:"shard_id"`
		}
		err := tx.conn.GetContext(ctx, &state, "SELECT cluster_id, shard_id FROM shard_state WHERE id = 1 FOR UPDATE")
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return tx.createOwnership(ctx, want)
		case err != nil:
			return meaning(err)
		case state.ClusterID != want.ClusterID || state.ShardID != want.ShardID:
			return fmt.Errorf("it holds shard %s of cluster %s: %w", state.ShardID, state.ClusterID, ErrForeign)
		}
		return tx.verifyOwnership(ctx, want)
	})
	if err != nil {
		return fmt.Errorf("ensure that database %s owns the partitions of shard %s: %w", db.cfg.ID, want.ShardID, err)
	}
	return nil
}

func (t *transaction) createOwnership(ctx context.Context, want Ownership) error {
	if want.Established {
		return fmt.Errorf("it is empty, but the shard has counted before: restore it: %w", ErrForeign)
	}
	created := want.CreatedAt.UTC()
	if err := t.exec(ctx, "INSERT INTO shard_state (id, cluster_id, shard_id, term, created_at) VALUES (1, ?, ?, 1, ?)",
		want.ClusterID, want.ShardID, created.Truncate(time.Second)); err != nil {
		return err
	}
	if err := t.exec(ctx, "INSERT INTO rollup_watermarks (resolution, complete_before) VALUES ('hour', ?), ('day', ?)",
		created.Truncate(time.Hour), created.Truncate(24*time.Hour)); err != nil {
		return err
	}
	for _, partition := range want.Partitions {
		if err := t.exec(ctx, "INSERT INTO checkpoints (partition_id) VALUES (?)", partition); err != nil {
			return err
		}
	}
	return nil
}

func (t *transaction) verifyOwnership(ctx context.Context, want Ownership) error {
	var owned []int
	if err := t.conn.SelectContext(ctx, &owned, "SELECT partition_id FROM checkpoints WHERE owned ORDER BY partition_id"); err != nil {
		return meaning(err)
	}
	for _, partition := range want.Partitions {
		if !slices.Contains(owned, partition) {
			return fmt.Errorf("partition %d is the shard's by the topology, but has no checkpoint here: move it here with its history: %w", partition, ErrMisrouted)
		}
	}
	for _, partition := range owned {
		if !slices.Contains(want.Partitions, partition) {
			return fmt.Errorf("partition %d has its checkpoint here, but is another shard's by the topology: %w", partition, ErrMisrouted)
		}
	}
	return nil
}
