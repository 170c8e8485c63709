package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// Bounds of a file of keys.
const (
	maxKeysPerFile    = 5_000_000
	maxAttributeBytes = 255
	maxKeyMistakes    = 10 // told at a time
)

// keysFile reads a CSV file of keys.
type keysFile struct {
	name      string
	eventType string // of all keys, if there is no column
	columns   map[string]int
	mistakes  []error
}

// readKeys reads all keys of a file, or tells what is wrong with it.
func readKeys(name string, file io.Reader, eventType string) ([]wire.KeyAttributes, error) {
	reader := csv.NewReader(file)
	reader.ReuseRecord = true
	f := &keysFile{name: name, eventType: eventType}
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: it is empty; its first line names the columns", name)
	}
	if err != nil {
		return nil, atLine(name, err)
	}
	if err := f.header(header); err != nil {
		return nil, err
	}
	var keys []wire.KeyAttributes
	for len(f.mistakes) < maxKeyMistakes {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, atLine(name, err)
		}
		if len(keys) == maxKeysPerFile {
			return nil, fmt.Errorf("%s: more than %d keys: import it in parts", name, maxKeysPerFile)
		}
		line, _ := reader.FieldPos(0)
		keys = append(keys, f.key(record, line))
	}
	return keys, errors.Join(f.mistakes...)
}

// atLine names the line that is no CSV.
func atLine(name string, err error) error {
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("%s:%d: %w", name, e.Line, e.Err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (f *keysFile) header(names []string) error {
	f.columns = make(map[string]int, len(names))
	for i, name := range names {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff"))) // some programs begin with a byte order mark
		if !slices.Contains([]string{"type", "key", "title", "owner"}, name) {
			return fmt.Errorf("%s:1: unknown column %q: want type, key, title, owner", f.name, name)
		}
		if _, twice := f.columns[name]; twice {
			return fmt.Errorf("%s:1: column %q comes twice", f.name, name)
		}
		f.columns[name] = i
	}
	if _, ok := f.columns["key"]; !ok {
		return fmt.Errorf("%s:1: column key is missing", f.name)
	}
	if _, ok := f.columns["type"]; !ok && f.eventType == "" {
		return fmt.Errorf("%s:1: column type is missing, and so is --type", f.name)
	}
	return nil
}

func (f *keysFile) key(record []string, line int) wire.KeyAttributes {
	k := wire.KeyAttributes{Type: f.eventType, Key: strings.Clone(record[f.columns["key"]])}
	if at, ok := f.columns["type"]; ok && record[at] != "" {
		k.Type = strings.Clone(record[at])
	}
	k.Title, k.Owner = f.attribute(record, "title"), f.attribute(record, "owner")
	if err := checkKey(k); err != nil {
		f.mistakes = append(f.mistakes, fmt.Errorf("%s:%d: %w", f.name, line, err))
	}
	return k
}

func (f *keysFile) attribute(record []string, column string) *string {
	at, ok := f.columns[column]
	if !ok {
		return nil
	}
	value := strings.Clone(record[at])
	return &value
}

func checkKey(k wire.KeyAttributes) error {
	switch {
	case !event.ValidTypeName(k.Type):
		return fmt.Errorf("type %q is no name of an event type", k.Type)
	case k.Key == "":
		return errors.New("the key is empty")
	case !utf8.ValidString(k.Key):
		return fmt.Errorf("key %q is not UTF-8", k.Key)
	case len(k.Key) > event.MaxKeyBytes:
		return fmt.Errorf("key %.40q… has %d bytes, at most %d are allowed", k.Key, len(k.Key), event.MaxKeyBytes)
	}
	for _, a := range []struct {
		name  string
		value *string
	}{{"title", k.Title}, {"owner", k.Owner}} {
		switch {
		case a.value == nil:
		case !utf8.ValidString(*a.value):
			return fmt.Errorf("%s of key %q is not UTF-8", a.name, k.Key)
		case len(*a.value) > maxAttributeBytes:
			return fmt.Errorf("%s of key %q has %d bytes, at most %d are allowed", a.name, k.Key, len(*a.value), maxAttributeBytes)
		}
	}
	return nil
}
