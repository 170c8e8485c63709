package diskcache

import (
	"cmp"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const lockName = "lock"

// lockFolder holds a lock until the file is closed, or the process ends.
func lockFolder(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// found is a block's file from before.
type found struct {
	entry
	written time.Time
}

// takeUp notes the blocks that are in the folder, and removes those beyond the bound. What is in them is checked when they are read.
func (c *Cache) takeUp() error {
	var all []found
	err := filepath.WalkDir(c.dir, func(path string, file fs.DirEntry, err error) error {
		if err != nil || file.IsDir() {
			return err
		}
		raw, notHex := hex.DecodeString(file.Name())
		if notHex != nil || len(raw) != len(id{}) {
			return nil
		}
		info, err := file.Info()
		if err != nil {
			return err
		}
		bytes := (info.Size() + clusterBytes - 1) / clusterBytes * clusterBytes
		all = append(all, found{entry: entry{id: id(raw), bytes: bytes}, written: info.ModTime()})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(b.written.UnixNano(), a.written.UnixNano()) })
	for i := range all {
		if c.bytes+all[i].bytes > c.max {
			c.remove(all[i].id)
			continue
		}
		c.entries[all[i].id] = c.recent.PushBack(&all[i].entry)
		c.bytes += all[i].bytes
	}
	return nil
}
