package mysql

import (
	"context"
)

// watermarks say how far the coarse tables are complete, in minutes since 1970.
type watermarks struct{ hour, day int64 }

// inMinutes is a DATETIME as minutes since 1970, in SQL.
func inMinutes(column string) string {
	return "TIMESTAMPDIFF(MINUTE, '1970-01-01 00:00:00', " + column + ")"
}

const stateFrom = ` FROM shard_state s
JOIN rollup_watermarks h ON h.resolution = 'hour'
JOIN rollup_watermarks d ON d.resolution = 'day'
WHERE s.id = 1`

// lockState reads the term and the watermarks and keeps them as they are until the transaction ends.
func (t *transaction) lockState(ctx context.Context) (term uint64, marks watermarks, err error) {
	row := t.conn.QueryRowxContext(ctx, "SELECT s.term, "+inMinutes("h.complete_before")+", "+inMinutes("d.complete_before")+stateFrom+" LOCK IN SHARE MODE")
	if err := row.Scan(&term, &marks.hour, &marks.day); err != nil {
		return 0, watermarks{}, absent(err)
	}
	return term, marks, nil
}
