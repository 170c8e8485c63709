package wire

import "encoding/json"

// PathSQL runs one SELECT of a person on a shard: POST SQLRequest, to a cluster proxy with ?shard=. The answer is a stream of SQLRecords, one a line
// (SQLType). One that lacks its last record, of end or error, was cut off.
const PathSQL = "/internal/v1/sql"

// RetryableSQL tells whether a statement of a person may be tried on another proxy: only if it did not run. One that took too long would do so there as well, and
// one that was killed must stay dead.
func RetryableSQL(err error) bool {
	code := CodeOf(err)
	return Retryable(code) && code != CodeDeadline
}

// SQLType is the media type of a stream of records.
const SQLType = "application/x-ndjson"

// Bounds of what one statement may give.
const (
	MaxSQLRows  = 1_000_000
	MaxSQLBytes = 256 << 20
)

// SQLRequest is a statement with what it may give at most.
type SQLRequest struct {
	SQL      string `json:"sql"`
	Params   []any  `json:"params,omitempty"` // in place of its question marks: null, boolean, number, text
	MaxRows  int    `json:"max_rows"`
	MaxBytes int64  `json:"max_bytes"` // of the records of rows
}

// SQLRecord is one line of an answer: columns first, then any number of rows, then an end or an error.
type SQLRecord struct {
	Columns []SQLColumn       `json:"columns,omitempty"`
	Row     []json.RawMessage `json:"row,omitempty"` // in the order of the columns
	End     *SQLEnd           `json:"end,omitempty"`
	Error   *Problem          `json:"error,omitempty"`
}

// SQLColumn is a column of an answer.
type SQLColumn struct {
	Name string `json:"name"`
	Type string `json:"type"` // as the database calls it: BIGINT, DECIMAL, DATETIME, VARCHAR …
}

// What cut an answer short.
const (
	TruncatedRows  = "rows"
	TruncatedBytes = "bytes"
)

// SQLEnd closes an answer.
type SQLEnd struct {
	Rows      int         `json:"rows"`
	Bytes     int64       `json:"bytes"`
	Truncated string      `json:"truncated,omitempty"` // "", rows or bytes: the bound at which rows were left out
	Seconds   float64     `json:"seconds"`
	Sources   []SQLSource `json:"sources"`
}

// SQLSource is a database that answered (INV-8).
type SQLSource struct {
	Shard    string `json:"shard"`
	Database string `json:"database"`
	Role     string `json:"role"`
	AsOf     int64  `json:"as_of_ms"` // log time; 0: nothing was counted yet
	Stale    bool   `json:"stale"`    // it lags beyond the bound
}
