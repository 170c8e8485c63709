package shardproxy

import (
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// errTruncated ends a selection that has given all that it may.
var errTruncated = errors.New("a bound of the answer was reached")

// sqlAnswer writes what a selection gives as a stream of records.
type sqlAnswer struct {
	request *wire.SQLRequest
	from    candidate
	shard   string
	begin   time.Time
	metrics *metrics
	open    func() *httpserver.Stream

	stream *httpserver.Stream // nil until there are columns
	kinds  []valueKind
	line   []byte
	end    wire.SQLEnd
}

// valueKind is how a column's values are told.
type valueKind int

const (
	textual valueKind = iota
	numeric
	binary
)

func kindOf(databaseType string) valueKind {
	switch strings.TrimPrefix(databaseType, "UNSIGNED ") {
	case "TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT", "DECIMAL", "FLOAT", "DOUBLE", "YEAR":
		return numeric
	case "BINARY", "VARBINARY", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB", "BIT", "GEOMETRY":
		return binary
	}
	return textual
}

// Columns begins the stream.
func (a *sqlAnswer) Columns(columns []mysql.Column, asOf int64) error {
	a.end.Sources = []wire.SQLSource{{Shard: a.shard, Database: a.from.ID, Role: string(a.from.Role), AsOf: asOf, Stale: a.from.stale}}
	record := wire.SQLRecord{}
	for _, c := range columns {
		a.kinds = append(a.kinds, kindOf(c.Type))
		record.Columns = append(record.Columns, wire.SQLColumn(c))
	}
	a.stream = a.open()
	if err := a.send(&record); err != nil {
		return err
	}
	return a.stream.Flush()
}

// Row sends a row, or ends the selection if it is one too many.
func (a *sqlAnswer) Row(values []sql.RawBytes) error {
	a.line = append(a.line[:0], `{"row":[`...)
	for i, value := range values {
		if i > 0 {
			a.line = append(a.line, ',')
		}
		a.line = appendValue(a.line, a.kinds[i], value)
	}
	a.line = append(a.line, "]}\n"...)
	switch {
	case a.end.Rows == a.request.MaxRows:
		a.end.Truncated = wire.TruncatedRows
		return errTruncated
	case a.end.Bytes+int64(len(a.line)) > a.request.MaxBytes:
		a.end.Truncated = wire.TruncatedBytes
		return errTruncated
	}
	a.end.Rows++
	a.end.Bytes += int64(len(a.line))
	_, err := a.stream.Write(a.line)
	return err
}

// close sends the last record: how it ended.
func (a *sqlAnswer) close(failed error) error {
	a.metrics.asked(&a.end)
	a.end.Seconds = time.Since(a.begin).Seconds()
	record := wire.SQLRecord{End: &a.end}
	if problem, ok := errors.AsType[*wire.Problem](failed); ok {
		record = wire.SQLRecord{Error: problem}
	}
	if err := a.send(&record); err != nil {
		return failed // nobody reads it
	}
	_ = a.stream.Flush()
	return failed
}

func (a *sqlAnswer) send(record *wire.SQLRecord) error {
	line, err := json.Marshal(record)
	if err != nil {
		return err
	}
	_, err = a.stream.Write(append(line, '\n'))
	return err
}

// appendValue appends a value as JSON: numbers as they are, however long; bytes in hexadecimal; everything else as text.
func appendValue(dst []byte, kind valueKind, value sql.RawBytes) []byte {
	switch {
	case value == nil:
		return append(dst, "null"...)
	case kind == binary:
		return append(hex.AppendEncode(append(dst, `"0x`...), value), '"')
	case kind == numeric && isNumber(value):
		return append(dst, value...)
	}
	text, err := json.Marshal(string(value))
	if err != nil { // a text can always be encoded
		panic(err)
	}
	return append(dst, text...)
}

// isNumber tells whether JSON has this as a number: it knows no leading zeros.
func isNumber(text []byte) bool {
	return len(text) > 0 && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') && json.Valid(text)
}
