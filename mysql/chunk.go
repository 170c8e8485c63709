package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
)

// chunk is what one step of the roll-up computes: the rows of some keys, as the statements that write them, and their counts by event type.
type chunk struct {
	into       resolution
	start      int64
	statements [][]byte
	rows       int64
	members    map[uint16][]member
}

func newChunk(into resolution, start int64) *chunk {
	return &chunk{into: into, start: start, members: map[uint16][]member{}}
}

const (
	insertSums = "INSERT INTO %s (key_id, event_type_id, start, event_count, value_count, value_sum, value_min, value_max) VALUES "
	// Overwrites: a chunk that is computed again is the same.
	overwrite = " ON DUPLICATE KEY UPDATE event_count = VALUES(event_count), value_count = VALUES(value_count), value_sum = VALUES(value_sum)," +
		" value_min = VALUES(value_min), value_max = VALUES(value_max)"
)

// read runs a query for key, event type, count, and the four columns of values. The server's numbers are written back as they are.
func (c *chunk) read(ctx context.Context, t *transaction, query string, args ...any) error {
	rows, err := t.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return meaning(err)
	}
	defer rows.Close()
	var columns [7]sql.RawBytes
	var targets [7]any
	for i := range columns {
		targets[i] = &columns[i]
	}
	begin := fmt.Appendf(nil, insertSums, c.into.table)
	start := appendTime(nil, c.start)
	for rows.Next() {
		if err := rows.Scan(targets[:]...); err != nil {
			return meaning(err)
		}
		if err := c.take(&columns, begin, start); err != nil {
			return err
		}
	}
	for i := range c.statements {
		c.statements[i] = append(c.statements[i], overwrite...)
	}
	return meaning(rows.Err())
}

func (c *chunk) take(columns *[7]sql.RawBytes, begin, start []byte) error {
	key, err := strconv.ParseUint(string(columns[0]), 10, 64)
	if err != nil {
		return fmt.Errorf("read key id: %w", err)
	}
	kind, err := strconv.ParseUint(string(columns[1]), 10, 16)
	if err != nil {
		return fmt.Errorf("read event type: %w", err)
	}
	count, err := strconv.ParseInt(string(columns[2]), 10, 64)
	if err != nil {
		return fmt.Errorf("sum up key %d: %w: %w", key, ErrUnapplicable, err)
	}
	c.members[uint16(kind)] = append(c.members[uint16(kind)], member{key, count})
	if c.rows%rowsPerStatement == 0 {
		c.statements = append(c.statements, append([]byte(nil), begin...))
	} else {
		last := len(c.statements) - 1
		c.statements[last] = append(c.statements[last], ',')
	}
	c.rows++
	text := c.statements[len(c.statements)-1]
	text = append(append(append(text, '('), columns[0]...), ',')
	text = append(append(append(text, columns[1]...), ','), start...)
	for _, value := range columns[2:] {
		text = append(text, ',')
		if value == nil {
			text = append(text, "NULL"...)
			continue
		}
		text = append(text, value...)
	}
	c.statements[len(c.statements)-1] = append(text, ')')
	return nil
}
