package flights

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
)

// sampleFlights is a CSV file with a header, columns as in the whole data set, compressed with zstd.
//
//go:embed sample/flights.csv.zst
var sampleFlights []byte

// SampleTimeLayout is how the sample's CSV writes the time of departure.
const SampleTimeLayout = "2006-01-02 15:04"

// SampleHeader returns the columns of the sample's CSV, in order.
func SampleHeader() []string {
	return []string{"date", "delay", "distance", "origin", "destination"}
}

// Sample yields the flights of the sample in order of departure. It needs no network and no file. An error ends the sequence.
func Sample() iter.Seq2[Flight, error] {
	return readSample(sampleFlights)
}

func readSample(compressed []byte) iter.Seq2[Flight, error] {
	return func(yield func(Flight, error) bool) {
		plain, err := zstd.NewReader(bytes.NewReader(compressed), zstd.WithDecoderConcurrency(1))
		if err != nil {
			yield(Flight{}, fmt.Errorf("open flights sample: %w", err))
			return
		}
		defer plain.Close()
		r := newSampleReader(plain)
		for {
			f, err := r.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Flight{}, fmt.Errorf("read flights sample: row %d: %w", r.row, err))
				return
			}
			if !yield(f, nil) {
				return
			}
		}
	}
}

type sampleReader struct {
	csv      *csv.Reader
	row      int64
	codes    codes
	lastText string // the text of lastTime: several flights share a minute
	lastTime time.Time
	headed   bool
}

func newSampleReader(plain io.Reader) *sampleReader {
	r := csv.NewReader(plain)
	r.ReuseRecord = true
	r.FieldsPerRecord = len(SampleHeader())
	return &sampleReader{csv: r, row: SampleFirstRow, codes: codes{}}
}

func (r *sampleReader) next() (Flight, error) {
	if !r.headed {
		if _, err := r.csv.Read(); err != nil {
			return Flight{}, fmt.Errorf("read header: %w", noEOF(err))
		}
		r.headed = true
	}
	record, err := r.csv.Read()
	if err != nil {
		return Flight{}, err
	}
	f, err := r.parse(record)
	if err != nil {
		return Flight{}, err
	}
	r.row++
	return f, nil
}

func (r *sampleReader) parse(record []string) (f Flight, err error) {
	f.Row = r.row
	if record[0] != r.lastText {
		if r.lastTime, err = time.Parse(SampleTimeLayout, record[0]); err != nil {
			return Flight{}, fmt.Errorf("%w: date: %w", ErrFlight, err)
		}
		r.lastText = record[0]
	}
	f.Time = r.lastTime
	if f.DelayMinutes, err = strconv.Atoi(record[1]); err != nil {
		return Flight{}, fmt.Errorf("%w: delay: %w", ErrFlight, err)
	}
	if f.DistanceMiles, err = strconv.Atoi(record[2]); err != nil {
		return Flight{}, fmt.Errorf("%w: distance: %w", ErrFlight, err)
	}
	if f.Origin, err = r.codes.intern("origin", []byte(record[3])); err != nil {
		return Flight{}, err
	}
	f.Destination, err = r.codes.intern("destination", []byte(record[4]))
	return f, err
}

// noEOF keeps the end of a file that must not end here from looking like the end of the sequence.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
