package writer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/quipudb/quipu/eventlog"
)

// Reasons why a batch is set aside.
const (
	reasonUndecodable  = "undecodable"   // its bytes are not a batch
	reasonMisplaced    = "misplaced"     // it holds a key that is not its partition's
	reasonTooManyRows  = "too_many_rows" // it adds up to more rows than one request may carry
	reasonUnapplicable = "unapplicable"  // the shard can never take its rows
)

// A DeadLetter is a batch that could not be counted, as its file holds it: one JSON document named after the log, the partition and
// the offset, so that a replay finds it already there and the first account of it stays.
type DeadLetter struct {
	Version     int       `json:"version"` // 1
	Partition   int       `json:"partition"`
	Offset      uint64    `json:"offset"`
	AppendTime  int64     `json:"append_time_ms"`
	Incarnation string    `json:"incarnation"`
	Checksum    uint32    `json:"checksum"` // CRC-32C of Data
	Reason      string    `json:"reason"`   // undecodable, misplaced, too_many_rows, unapplicable
	Detail      string    `json:"detail"`
	SetAsideAt  time.Time `json:"set_aside_at"`
	Duplicates  []int     `json:"duplicates,omitempty"` // the events that are duplicates and would not have been counted
	Data        []byte    `json:"data"`                 // the batch
}

// deadLetters is a directory of dead letters. It grows with what is wrong; when its disk is full, the partition waits, because the
// checkpoint must not pass a batch that is kept nowhere.
type deadLetters struct{ dir string }

// put makes a dead letter durable. It changes nothing if the batch is there already.
func (d deadLetters) put(incarnation string, partition int, record *eventlog.Record, reason string, detail error, duplicates []int) error {
	folder := filepath.Join(d.dir, fmt.Sprintf("partition-%d", partition))
	path := filepath.Join(folder, fmt.Sprintf("%s-%020d.json", safeName(incarnation), record.Offset))
	if _, err := os.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put dead letter: %w", err)
	}
	data, err := json.Marshal(DeadLetter{
		Version: 1, Partition: partition, Offset: record.Offset, AppendTime: record.AppendTime, Incarnation: incarnation,
		Checksum: record.Checksum, Reason: reason, Detail: detail.Error(), SetAsideAt: time.Now().UTC(), Duplicates: duplicates, Data: record.Data,
	})
	if err != nil {
		return fmt.Errorf("put dead letter: %w", err)
	}
	if err := d.makeFolder(folder); err != nil {
		return fmt.Errorf("put dead letter: %w", err)
	}
	if err := writeDurably(path, append(data, '\n')); err != nil {
		return fmt.Errorf("put dead letter: %w", err)
	}
	return nil
}

func (d deadLetters) makeFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	return errors.Join(syncFolder(d.dir), syncFolder(filepath.Dir(d.dir)))
}

// safeName keeps an incarnation from leaving the folder.
func safeName(incarnation string) string {
	out := []byte(incarnation)
	for i, c := range out {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			out[i] = '_'
		}
	}
	return string(out[:min(len(out), 100)])
}

func writeDurably(path string, data []byte) error {
	temporary := path + ".tmp"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
