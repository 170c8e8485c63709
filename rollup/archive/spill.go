package archive

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/wire"
)

const (
	spillPrefix  = "quipu-archive-"
	spillRows    = 50_000 // of one record
	spillRecord  = 64 << 20
	staleSpill   = 48 * time.Hour // left by a process that was killed
	spillHeader  = 4
	spillFolders = 0o700
)

// spill keeps rows by bin in files of a folder of its own until close. A file is a sequence of records, each a length and encoded rows with a
// checksum.
type spill struct {
	folder string // in which its own is made
	own    string
	buffer []byte
}

func (s *spill) append(b bin, rows []countfile.Row) (err error) {
	if err := s.open(); err != nil {
		return fmt.Errorf("keep rows on disk: %w", err)
	}
	file, err := os.OpenFile(s.path(b), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("keep rows on disk: %w", err)
	}
	defer func() {
		if failed := errors.Join(err, file.Close()); failed != nil {
			err = fmt.Errorf("keep rows on disk: %w", failed)
		}
	}()
	record := wire.ArchiveRows{Rows: make([]wire.ArchiveRow, 0, min(len(rows), spillRows))}
	for len(rows) > 0 {
		n := min(len(rows), spillRows)
		record.Rows = record.Rows[:0]
		for i := range rows[:n] {
			record.Rows = append(record.Rows, wire.ArchiveRow(rows[i]))
		}
		rows = rows[n:]
		s.buffer = wire.EncodeArchiveRows(append(s.buffer[:0], make([]byte, spillHeader)...), &record)
		binary.LittleEndian.PutUint32(s.buffer, uint32(len(s.buffer)-spillHeader))
		if _, err := file.Write(s.buffer); err != nil {
			return err
		}
	}
	return nil
}

// read hands over the rows of a bin in the order in which they came, and removes them from the disk.
func (s *spill) read(b bin, take func([]countfile.Row) error) (err error) {
	file, err := os.Open(s.path(b))
	if err != nil {
		return fmt.Errorf("read rows on disk: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	reader := bufio.NewReaderSize(file, 1<<20)
	var rows []countfile.Row
	for {
		record, err := s.record(reader)
		if err != nil || record == nil {
			return err
		}
		rows = rows[:0]
		for i := range record.Rows {
			rows = append(rows, countfile.Row(record.Rows[i]))
		}
		if err := take(rows); err != nil {
			return err
		}
	}
}

// record reads the next one; nil at the end.
func (s *spill) record(reader io.Reader) (*wire.ArchiveRows, error) {
	var header [spillHeader]byte
	if _, err := io.ReadFull(reader, header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, fmt.Errorf("read rows on disk: %w", err)
	}
	n := int(binary.LittleEndian.Uint32(header[:]))
	if n > spillRecord {
		return nil, fmt.Errorf("read rows on disk: a record of %d bytes", n)
	}
	if cap(s.buffer) < n {
		s.buffer = make([]byte, n)
	}
	if _, err := io.ReadFull(reader, s.buffer[:n]); err != nil {
		return nil, fmt.Errorf("read rows on disk: %w", err)
	}
	record, err := wire.DecodeArchiveRows(s.buffer[:n])
	if err != nil {
		return nil, fmt.Errorf("read rows on disk: %w", err)
	}
	return record, nil
}

func (s *spill) path(b bin) string {
	return filepath.Join(s.own, strconv.FormatInt(b.day, 10)+"-"+strconv.Itoa(b.group))
}

func (s *spill) open() (err error) {
	if s.own != "" {
		return nil
	}
	if s.folder == "" {
		s.folder = os.TempDir()
	}
	if err := os.MkdirAll(s.folder, spillFolders); err != nil {
		return err
	}
	s.removeStale()
	s.own, err = os.MkdirTemp(s.folder, spillPrefix)
	return err
}

// removeStale removes what a killed process left. Whatever goes wrong here is no harm.
func (s *spill) removeStale() {
	entries, err := os.ReadDir(s.folder)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), spillPrefix) && time.Since(info.ModTime()) > staleSpill {
			_ = os.RemoveAll(filepath.Join(s.folder, entry.Name()))
		}
	}
}

func (s *spill) close() error {
	if s.own == "" {
		return nil
	}
	if err := os.RemoveAll(s.own); err != nil {
		return fmt.Errorf("remove rows on disk: %w", err)
	}
	return nil
}
