package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
)

// Health is what a database says of itself.
type Health struct {
	ReadOnly      bool
	ClusterID     string
	ShardID       string
	Term          uint64
	SchemaVersion uint
	SchemaDirty   bool
	AsOf          map[int]int64 // by partition that the shard owns
}

const selectHealth = ` @@GLOBAL.read_only, s.cluster_id, s.shard_id, s.term, v.version, v.dirty, c.partition_id, c.as_of
FROM shard_state s JOIN schema_migrations v JOIN checkpoints c ON c.owned WHERE s.id = 1`

// Probe does real work: it reads every checkpoint. A database whose shard was never bootstrapped is ErrSchema.
func (d *DB) Probe(ctx context.Context) (*Health, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return nil, fmt.Errorf("probe %s: %w", d.cfg.ID, meaning(err))
	}
	defer conn.Close()
	rows, err := conn.QueryContext(ctx, d.selecting(ctx, selectHealth))
	if err != nil {
		return nil, fmt.Errorf("probe %s: %w", d.cfg.ID, meaning(err))
	}
	defer rows.Close()
	h := &Health{AsOf: map[int]int64{}}
	for rows.Next() {
		var partition int
		var asOf int64
		if err := rows.Scan(&h.ReadOnly, &h.ClusterID, &h.ShardID, &h.Term, &h.SchemaVersion, &h.SchemaDirty, &partition, &asOf); err != nil {
			return nil, fmt.Errorf("probe %s: %w", d.cfg.ID, meaning(err))
		}
		h.AsOf[partition] = asOf
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("probe %s: %w", d.cfg.ID, meaning(err))
	}
	if len(h.AsOf) == 0 {
		return nil, fmt.Errorf("probe %s: it owns no partition: %w", d.cfg.ID, ErrSchema)
	}
	return h, nil
}

// Replication is how a replica is doing by its server's own account.
type Replication struct {
	Configured bool // false: it replicates from nobody
	Receiving  bool
	Applying   bool
	Behind     time.Duration // meaningful only with Known
	Known      bool
	Error      string
}

// Replication asks the server. The account needs the right to see replication.
func (d *DB) Replication(ctx context.Context) (Replication, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return Replication{}, fmt.Errorf("read replication of %s: %w", d.cfg.ID, meaning(err))
	}
	defer conn.Close()
	speaks := *d.dialect.Load()
	status, err := oneRow(ctx, conn, speaks.replicaStatus())
	if err != nil {
		return Replication{}, fmt.Errorf("read replication of %s: %w", d.cfg.ID, meaning(err))
	}
	if status == nil {
		return Replication{}, nil
	}
	c := speaks.replicaColumns()
	r := Replication{
		Configured: true, Receiving: status[c.receiving].String == "Yes", Applying: status[c.applying].String == "Yes",
		Error: defaultTo(status[c.applyError].String, status[c.receiveError].String),
	}
	if behind, err := strconv.ParseInt(status[c.behind].String, 10, 64); err == nil && status[c.behind].Valid {
		r.Behind, r.Known = time.Duration(behind)*time.Second, true
	}
	return r, nil
}

// oneRow returns the columns of the first row by name, nil if there is none.
func oneRow(ctx context.Context, conn *sqlx.Conn, statement string) (map[string]sql.NullString, error) {
	rows, err := conn.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil || !rows.Next() {
		return nil, err
	}
	values, targets := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		targets[i] = &values[i]
	}
	if err := rows.Scan(targets...); err != nil {
		return nil, err
	}
	row := make(map[string]sql.NullString, len(names))
	for i, name := range names {
		row[name] = values[i]
	}
	return row, rows.Err()
}
