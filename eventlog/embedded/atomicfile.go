package embedded

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/quipudb/quipu/eventlog"
)

// writeFile replaces a file so that a crash leaves the old or the new one: temporary file, flush, rename, flush of the directory.
func writeFile(path string, data []byte) error {
	temporary := path + ".tmp"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// writeJSON writes a value with a checksum in front: eight hexadecimal digits, a newline, the JSON.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
	if err := writeFile(path, fmt.Appendf(nil, "%x\n%s\n", sum, data)); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// readJSON reads what writeJSON wrote. A missing file is os.ErrNotExist, a changed one a DamageError.
func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	if len(text) < 10 || text[8] != '\n' || text[len(text)-1] != '\n' {
		return &eventlog.DamageError{File: path, Offset: 0, Reason: "not a checksum and its text"}
	}
	data := text[9 : len(text)-1]
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
	if fmt.Sprintf("%x", sum) != string(text[:8]) {
		return &eventlog.DamageError{File: path, Offset: 0, Reason: "checksum differs"}
	}
	if err := json.Unmarshal(data, v); err != nil {
		return &eventlog.DamageError{File: path, Offset: 9, Reason: err.Error()}
	}
	return nil
}
