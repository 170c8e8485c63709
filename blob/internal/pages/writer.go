package pages

import (
	"bufio"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/quipudb/quipu/blob/internal/sealed"
)

// Sizes, in rows.
const (
	PageRows  = 8192
	GroupRows = 16 * PageRows
)

const (
	outputBuffer = 1 << 20
	pageBytes    = 256 << 10 // what the library's buffers begin with; pages end by rows
	longest      = 1 << 13   // of a text in the page index: whole keys
)

// Writer writes a file. The caller fills in a page of values a column and hands it over, which takes half the time of the library's way
// from structs.
type Writer struct {
	Values [][]parquet.Value // by column, PageRows each

	out     *bufio.Writer
	seal    *sealed.Writer
	parquet *parquet.GenericWriter[any]
	columns []*parquet.ColumnWriter
	names   []string
	grouped int
}

// NewWriter begins a file. Options are those besides sizes and compression; keys of metadata must sort before sealed.Key.
func NewWriter(w io.Writer, names []string, options ...parquet.WriterOption) *Writer {
	p := &Writer{out: bufio.NewWriterSize(w, outputBuffer), names: names}
	p.seal = sealed.NewWriter(p.out)
	p.parquet = parquet.NewGenericWriter[any](p.seal, append(options,
		parquet.CreatedBy("quipu", "1", ""),
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest, Concurrency: 1}),
		parquet.PageBufferSize(pageBytes),
		parquet.WriteBufferSize(0), // the seal must know where the body ends
		parquet.MaxRowsPerRowGroup(GroupRows),
		parquet.ColumnIndexSizeLimit(func([]string) int { return longest }),
	)...)
	p.columns = p.parquet.ColumnWriters()
	p.Values = make([][]parquet.Value, len(p.columns))
	for c := range p.Values {
		p.Values[c] = make([]parquet.Value, PageRows)
	}
	return p
}

// EndPage writes the first rows of Values as a page. All pages of a file but the last have PageRows.
func (p *Writer) EndPage(rows int) error {
	for c, column := range p.columns {
		if _, err := column.WriteRowValues(p.Values[c][:rows]); err != nil {
			return fmt.Errorf("column %s: %w", p.names[c], err)
		}
		if err := column.Flush(); err != nil {
			return fmt.Errorf("column %s: %w", p.names[c], err)
		}
	}
	if p.grouped += rows; p.grouped < GroupRows {
		return nil
	}
	return p.endGroup()
}

func (p *Writer) endGroup() error {
	p.grouped = 0
	return p.parquet.Flush()
}

// Set adds an entry to the file's metadata, until Close.
func (p *Writer) Set(key, value string) { p.parquet.SetKeyValueMetadata(key, value) }

// Close ends the file.
func (p *Writer) Close() error {
	if err := p.endGroup(); err != nil {
		return err
	}
	p.parquet.SetKeyValueMetadata(sealed.Key, p.seal.Seal())
	if err := p.parquet.Close(); err != nil {
		return err
	}
	if err := p.seal.Close(); err != nil {
		return err
	}
	return p.out.Flush()
}
