package load

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

// Format is how a file holds events.
type Format string

// The formats. FormatAuto goes by the file's name.
const (
	FormatAuto   Format = ""
	FormatNDJSON Format = "ndjson"
	FormatCSV    Format = "csv"
)

// Input names files of events.
type Input struct {
	Paths   []string // "-" is Stdin; .gz and .zst files are decompressed
	Format  Format
	Mapping Mapping // of CSV columns; its zero value goes by the columns' names
	Stdin   io.Reader
}

// Events yields the events of all files in order. An error names file and line and ends the sequence.
func (in Input) Events() iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		for _, path := range in.Paths {
			more := true
			err := in.read(path, func(e event.Event) bool {
				more = yield(e, nil)
				return more
			})
			if err != nil {
				yield(event.Event{}, err)
				return
			}
			if !more {
				return
			}
		}
	}
}

func (in Input) read(path string, yield func(event.Event) bool) error {
	format, err := in.formatOf(path)
	if err != nil {
		return err
	}
	file, name := in.Stdin, "standard input"
	if path != "-" {
		opened, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInput, err)
		}
		defer opened.Close()
		file, name = opened, path
	}
	plain, err := decompress(bufio.NewReaderSize(file, 1<<16), path)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrInput, name, err)
	}
	defer plain.Close()
	if format == FormatCSV {
		return readCSV(plain, name, in.Mapping, yield)
	}
	return readNDJSON(plain, name, yield)
}

func (in Input) formatOf(path string) (Format, error) {
	base := strings.TrimSuffix(strings.TrimSuffix(path, ".gz"), ".zst")
	switch {
	case in.Format == FormatCSV || in.Format == FormatNDJSON:
		return in.Format, nil
	case in.Format != FormatAuto:
		return "", fmt.Errorf("%w: format %q is none of %s, %s", ErrConfig, in.Format, FormatNDJSON, FormatCSV)
	case strings.HasSuffix(base, ".csv"):
		return FormatCSV, nil
	case path == "-", strings.HasSuffix(base, ".ndjson"), strings.HasSuffix(base, ".jsonl"):
		return FormatNDJSON, nil
	}
	return "", fmt.Errorf("%w: can't tell the format of %s by its name: say --format %s or --format %s", ErrConfig, path, FormatNDJSON, FormatCSV)
}

// decompress returns the plain content of a file.
func decompress(file io.Reader, path string) (io.ReadCloser, error) {
	switch {
	case strings.HasSuffix(path, ".gz"):
		return gzip.NewReader(file)
	case strings.HasSuffix(path, ".zst"):
		plain, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return plain.IOReadCloser(), nil
	}
	return io.NopCloser(file), nil
}

// checked completes an event that was read and says what is wrong with it.
func checked(e event.Event) (event.Event, error) {
	if e.Weight == 0 {
		e.Weight = 1
	}
	return e, client.Check(&e)
}

// timeLayouts are the forms of a time beside milliseconds since 1970; without a zone they are UTC.
func timeLayouts() []string {
	return []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly}
}

// parseTime reads an event's time.
func parseTime(text string) (ms int64, err error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return ms, nil
	}
	for _, layout := range timeLayouts() {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%w: time %.40q is neither RFC 3339 nor milliseconds since 1970", client.ErrInvalid, text)
}
