package countfile

import (
	"fmt"
	"io"
)

// Write writes a file of rows, which may be in any order and are left as they are. Bytes that it wrote before an error are no file.
func Write(w io.Writer, rows []Row, meta Meta) (Summary, error) {
	indexes, keys := order(rows)
	enc, err := newEncoder(w, meta, len(rows) >= fewRows*keys)
	if err != nil {
		return Summary{}, err
	}
	for _, index := range indexes {
		if err := enc.add(&rows[index]); err != nil {
			return Summary{}, fmt.Errorf("write count file: %w", err)
		}
	}
	summary, err := enc.close()
	if err != nil {
		return Summary{}, fmt.Errorf("write count file: %w", err)
	}
	return summary, nil
}
