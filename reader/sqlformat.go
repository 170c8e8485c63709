package reader

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// The formats of an answer to SQL.
const (
	formatNDJSON = "ndjson"
	formatCSV    = "csv"
	formatTable  = "table"
)

var sqlFormats = []string{formatNDJSON, formatCSV, formatTable}

// sqlWriter writes an answer in one format. Nothing is sent before head.
type sqlWriter interface {
	head(columns []wire.SQLColumn) error
	row(values string) error // a JSON array
	end(end *wire.SQLEnd) error
	// fail ends an answer that is not whole, so that whoever reads it can tell.
	fail(problem *wire.Problem)
}

func newSQLWriter(c echo.Context, q *sqlQuestion) sqlWriter {
	open := func(mediaType string) *httpserver.Stream { return httpserver.NewStream(c, mediaType, q.timeout) }
	switch q.Format {
	case formatCSV:
		return &csvWriter{open: open}
	case formatTable:
		return &tableWriter{open: open}
	}
	return &ndjsonWriter{open: open}
}

// ndjsonWriter writes a record a line. One of error stands at the end of what is not whole.
type ndjsonWriter struct {
	open   func(string) *httpserver.Stream
	stream *httpserver.Stream
}

type sqlEnd struct {
	Rows      int         `json:"rows"`
	Bytes     int64       `json:"bytes"`
	Truncated *string     `json:"truncated"`
	Seconds   float64     `json:"seconds"`
	Sources   []sqlSource `json:"sources"`
}

type sqlSource struct {
	Shard    string  `json:"shard"`
	Database string  `json:"database"`
	Role     string  `json:"role"`
	AsOf     *string `json:"as_of"`
	Stale    bool    `json:"stale"`
}

func (w *ndjsonWriter) head(columns []wire.SQLColumn) error {
	w.stream = w.open(wire.SQLType)
	if err := w.send(map[string]any{"columns": columns}); err != nil {
		return err
	}
	return w.stream.Flush()
}

func (w *ndjsonWriter) row(values string) error {
	_, err := w.stream.Write([]byte(rowPrefix + values + rowSuffix))
	return err
}

func (w *ndjsonWriter) end(end *wire.SQLEnd) error {
	out := sqlEnd{Rows: end.Rows, Bytes: end.Bytes, Truncated: orNull(end.Truncated), Seconds: end.Seconds, Sources: []sqlSource{}}
	for _, s := range end.Sources {
		out.Sources = append(out.Sources, sqlSource{Shard: s.Shard, Database: s.Database, Role: s.Role, AsOf: orNull(asOfText(s.AsOf)), Stale: s.Stale})
	}
	if err := w.send(map[string]any{"end": out}); err != nil {
		return err
	}
	return w.stream.Flush()
}

func (w *ndjsonWriter) fail(problem *wire.Problem) {
	if w.send(map[string]any{"error": problem}) == nil {
		_ = w.stream.Flush() // nobody reads it if it fails
	}
}

func (w *ndjsonWriter) send(record map[string]any) error {
	line, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	_, err = w.stream.Write(append(line, '\n'))
	return err
}

func asOfText(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// csvWriter writes RFC 4180 with a line of names first; NULL is an empty field. An answer that is not whole has a last line that says why, and breaks the
// connection off; one that a bound cut short has a last line that says so.
type csvWriter struct {
	open   func(string) *httpserver.Stream
	stream *httpserver.Stream
	lines  *csv.Writer
}

func (w *csvWriter) head(columns []wire.SQLColumn) error {
	w.stream = w.open("text/csv; charset=utf-8")
	w.lines = csv.NewWriter(w.stream)
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return w.line(names)
}

func (w *csvWriter) row(values string) error {
	row, err := decodeRow(values)
	if err != nil {
		return err
	}
	return w.line(textsOf(row, ""))
}

func (w *csvWriter) line(fields []string) error {
	if err := w.lines.Write(fields); err != nil {
		return err
	}
	w.lines.Flush()
	return w.lines.Error()
}

func (w *csvWriter) end(end *wire.SQLEnd) error {
	if end.Truncated != "" {
		if _, err := fmt.Fprintf(w.stream, "# truncated: %s\n", end.Truncated); err != nil {
			return err
		}
	}
	return w.stream.Flush()
}

func (w *csvWriter) fail(problem *wire.Problem) {
	fmt.Fprintf(w.stream, "# failed: %s: %s\n", problem.Code, oneLine(problem.Detail))
	w.stream.Abort()
}

// textsOf turns values into texts.
func textsOf(row []any, null string) []string {
	out := make([]string, len(row))
	for i, value := range row {
		if out[i] = null; value != nil {
			out[i] = fmt.Sprint(value)
		}
	}
	return out
}

// tableRows are looked at for the widths of columns before the first is sent; those that come later may be wider.
const tableRows = 500

// tableWriter writes for eyes. An answer that is not whole has a last line that says why, and breaks the connection off.
type tableWriter struct {
	open    func(string) *httpserver.Stream
	stream  *httpserver.Stream
	names   []string
	numeric []bool
	waiting [][]string // until widths are known
	widths  []int
}

func (w *tableWriter) head(columns []wire.SQLColumn) error {
	w.stream = w.open("text/plain; charset=utf-8")
	for _, c := range columns {
		w.names = append(w.names, oneLine(c.Name))
		kind := strings.TrimPrefix(c.Type, "UNSIGNED ")
		w.numeric = append(w.numeric, strings.HasSuffix(kind, "INT") || kind == "DECIMAL" || kind == "DOUBLE" || kind == "FLOAT")
	}
	return nil
}

func (w *tableWriter) row(values string) error {
	row, err := decodeRow(values)
	if err != nil {
		return err
	}
	texts := textsOf(row, "NULL")
	for i := range texts {
		texts[i] = oneLine(texts[i])
	}
	if w.widths != nil {
		return w.line(texts)
	}
	if w.waiting = append(w.waiting, texts); len(w.waiting) == tableRows {
		return w.release()
	}
	return nil
}

// oneLine keeps a value from breaking the table, and the terminal that it is shown on.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

// release sends the names and the rows that wait.
func (w *tableWriter) release() error {
	w.widths = make([]int, len(w.names))
	for _, row := range append([][]string{w.names}, w.waiting...) {
		for i, text := range row {
			w.widths[i] = max(w.widths[i], utf8.RuneCountInString(text))
		}
	}
	rule := make([]string, len(w.names))
	for i, width := range w.widths {
		rule[i] = strings.Repeat("-", width)
	}
	for _, row := range append([][]string{w.names, rule}, w.waiting...) {
		if err := w.line(row); err != nil {
			return err
		}
	}
	w.waiting = nil
	return nil
}

func (w *tableWriter) line(texts []string) error {
	var line bytes.Buffer
	for i, text := range texts {
		pad := strings.Repeat(" ", max(0, w.widths[i]-utf8.RuneCountInString(text)))
		if i > 0 {
			line.WriteString("  ")
		}
		if w.numeric[i] {
			text, pad = pad+text, ""
		}
		line.WriteString(text)
		if i < len(texts)-1 {
			line.WriteString(pad)
		}
	}
	line.WriteByte('\n')
	_, err := w.stream.Write(line.Bytes())
	return err
}

func (w *tableWriter) end(end *wire.SQLEnd) error {
	if w.widths == nil {
		if err := w.release(); err != nil {
			return err
		}
	}
	var line strings.Builder
	fmt.Fprintf(&line, "(%d rows, %.3f s", end.Rows, end.Seconds)
	for _, s := range end.Sources {
		fmt.Fprintf(&line, "; %s: %s", s.Shard, s.Database)
		if s.AsOf > 0 {
			fmt.Fprintf(&line, " as of %s", asOfText(s.AsOf))
		}
		if s.Stale {
			line.WriteString(", stale")
		}
	}
	line.WriteString(")\n")
	if end.Truncated != "" {
		fmt.Fprintf(&line, "(truncated: there is more, but the bound of %s was reached)\n", end.Truncated)
	}
	if _, err := w.stream.Write([]byte(line.String())); err != nil {
		return err
	}
	return w.stream.Flush()
}

func (w *tableWriter) fail(problem *wire.Problem) {
	if w.widths == nil {
		_ = w.release() // nobody reads it if it fails
	}
	fmt.Fprintf(w.stream, "(failed: %s: %s)\n", problem.Code, oneLine(problem.Detail))
	w.stream.Abort()
}
