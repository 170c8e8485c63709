package load

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

var errZeroWeight = fmt.Errorf("%w: weight is 0", client.ErrInvalid)

// Mapping says which columns of a CSV file make which field of an event: type, key, id, time, value, weight. What a field is
// mapped to is the name of a column, or a text with names of columns in braces, "{origin}-{destination}"; for the field type, a
// text that names no column stands for itself.
type Mapping map[string]string

// fields lists what can be mapped.
func fields() []string { return []string{"type", "key", "id", "time", "value", "weight"} }

// ParseMapping reads "type=departure,key=origin,value=delay,time=date".
func ParseMapping(text string) (Mapping, error) {
	m := Mapping{}
	for _, pair := range strings.Split(text, ",") {
		field, column, ok := strings.Cut(pair, "=")
		field, column = strings.TrimSpace(field), strings.TrimSpace(column)
		switch {
		case !ok || column == "":
			return nil, fmt.Errorf("%w: mapping %q must be like key=origin", ErrConfig, pair)
		case !slices.Contains(fields(), field):
			return nil, fmt.Errorf("%w: mapping %q: an event has the fields %s", ErrConfig, pair, strings.Join(fields(), ", "))
		case m[field] != "":
			return nil, fmt.Errorf("%w: field %s is mapped twice", ErrConfig, field)
		}
		m[field] = column
	}
	return m, nil
}

// piece is a part of a field: the text of a column, or a text of its own.
type piece struct {
	text   string
	column int // −1: text
}

// columns is a mapping bound to a file's header.
type columns map[string][]piece

func (m Mapping) bind(header []string) (columns, error) {
	if len(m) == 0 {
		m = Mapping{}
		for _, name := range header {
			if slices.Contains(fields(), name) {
				m[name] = name
			}
		}
	}
	bound := columns{}
	for field, target := range m {
		pieces, err := bindField(field, target, header)
		if err != nil {
			return nil, err
		}
		bound[field] = pieces
	}
	for _, field := range []string{"type", "key"} {
		if bound[field] == nil {
			return nil, fmt.Errorf("%w: no column makes the %s: map it, as in --map %s=…; the columns are %s", ErrConfig, field, field, strings.Join(header, ", "))
		}
	}
	return bound, nil
}

func bindField(field, target string, header []string) ([]piece, error) {
	if i := slices.Index(header, target); i >= 0 {
		return []piece{{column: i}}, nil
	}
	var pieces []piece
	rest := target
	for rest != "" {
		text, after, braced := strings.Cut(rest, "{")
		if text != "" {
			pieces = append(pieces, piece{text: text, column: -1})
		}
		if !braced {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		i := slices.Index(header, name)
		if !closed || i < 0 {
			return nil, fmt.Errorf("%w: %s=%s: there is no column %q; the columns are %s", ErrConfig, field, target, name, strings.Join(header, ", "))
		}
		pieces = append(pieces, piece{column: i})
		rest = tail
	}
	if !strings.Contains(target, "{") && field != "type" {
		return nil, fmt.Errorf("%w: %s=%s: there is no such column; the columns are %s", ErrConfig, field, target, strings.Join(header, ", "))
	}
	return pieces, nil
}

func (c columns) text(field string, record []string) string {
	pieces := c[field]
	if len(pieces) == 1 && pieces[0].column >= 0 {
		return record[pieces[0].column]
	}
	var b strings.Builder
	for _, p := range pieces {
		if p.column >= 0 {
			b.WriteString(record[p.column])
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

func readCSV(from io.Reader, name string, mapping Mapping, yield func(event.Event) bool) error {
	r := csv.NewReader(from)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return fmt.Errorf("%w: %s: read header: %w", ErrInput, name, err)
	}
	if len(header) > 0 {
		header[0] = strings.TrimPrefix(header[0], "\ufeff")
	}
	bound, err := mapping.bind(slices.Clone(header))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrInput, name, err)
		}
		e, err := bound.event(record)
		if err != nil {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("%w: %s line %d: %w", ErrInput, name, line, err)
		}
		if !yield(e) {
			return nil
		}
	}
}

func (c columns) event(record []string) (e event.Event, err error) {
	e = event.Event{Type: c.text("type", record), Key: c.text("key", record), ID: c.text("id", record)}
	if text := c.text("time", record); text != "" {
		if e.TimeMs, err = parseTime(text); err != nil {
			return e, err
		}
	}
	if text := c.text("value", record); text != "" {
		e.HasValue = true
		if e.Value, err = strconv.ParseInt(text, 10, 64); err != nil {
			return e, fmt.Errorf("%w: value %.40q is not an integer", client.ErrInvalid, text)
		}
	}
	if text := c.text("weight", record); text != "" {
		if e.Weight, err = strconv.ParseInt(text, 10, 64); err != nil {
			return e, fmt.Errorf("%w: weight %.40q is not an integer", client.ErrInvalid, text)
		}
		if e.Weight == 0 {
			return e, errZeroWeight
		}
	}
	return checked(e)
}
