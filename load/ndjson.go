package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/quipudb/quipu/event"
)

const maxLine = 64 << 10

// lineEvent is one line of NDJSON: the fields that POST /v1/events takes.
type lineEvent struct {
	Type   string          `json:"type"`
	Key    string          `json:"key"`
	ID     string          `json:"id"`
	Time   json.RawMessage `json:"time"`
	Value  *int64          `json:"value"`
	Weight *int64          `json:"weight"`
}

func readNDJSON(from io.Reader, name string, yield func(event.Event) bool) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	number := 0
	for lines.Scan() {
		number++
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		e, err := parseLine(text)
		if err != nil {
			return fmt.Errorf("%w: %s line %d: %w", ErrInput, name, number, err)
		}
		if !yield(e) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %s line %d: %w", ErrInput, name, number+1, err)
	}
	return nil
}

func parseLine(text []byte) (event.Event, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var l lineEvent
	if err := decoder.Decode(&l); err != nil {
		return event.Event{}, err
	}
	if rest := bytes.TrimSpace(text[decoder.InputOffset():]); len(rest) > 0 {
		return event.Event{}, fmt.Errorf("something follows the object: %.20q", rest)
	}
	e := event.Event{Type: l.Type, Key: l.Key, ID: l.ID}
	if l.Value != nil {
		e.Value, e.HasValue = *l.Value, true
	}
	if l.Weight != nil {
		if e.Weight = *l.Weight; e.Weight == 0 {
			return e, errZeroWeight
		}
	}
	if len(l.Time) > 0 && string(l.Time) != "null" {
		var err error
		if e.TimeMs, err = parseTime(string(bytes.Trim(l.Time, `"`))); err != nil {
			return e, err
		}
	}
	return checked(e)
}
