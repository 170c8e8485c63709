package backup

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// state is what a shard's database says of itself.
type state struct {
	clusterID, shard string
	term             uint64
	checkpoints      []Checkpoint
}

// readState reads from the schema; prefix is it with a dot.
func readState(ctx context.Context, db *sql.DB, prefix string) (*state, error) {
	s := &state{}
	err := db.QueryRowContext(ctx, "SELECT cluster_id, shard_id, term FROM "+prefix+"shard_state WHERE id = 1").Scan(&s.clusterID, &s.shard, &s.term)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrOther
	}
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT partition_id, next_offset, window_from, incarnation FROM "+prefix+"checkpoints WHERE owned ORDER BY partition_id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c Checkpoint
		if err := rows.Scan(&c.Partition, &c.NextOffset, &c.WindowFrom, &c.Incarnation); err != nil {
			return nil, err
		}
		s.checkpoints = append(s.checkpoints, c)
	}
	return s, rows.Err()
}

func baseConfig() *mysql.Config {
	config := mysql.NewConfig()
	config.Timeout, config.ReadTimeout = 10*time.Second, time.Minute
	config.InterpolateParams = true
	config.Logger = &mysql.NopLogger{}
	return config
}

func openDB(config *mysql.Config) (*sql.DB, error) {
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

// tail keeps the end of what a program has to say.
type tail struct{ text []byte }

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailBytes; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.text)) }
