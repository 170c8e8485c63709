package embedded

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/quipudb/quipu/eventlog"
)

// ErrLocked is returned by Open when another process has the log open.
var ErrLocked = errors.New("log is open in another process")

// ErrPartitions is returned by Open when the log was made with another number of partitions.
var ErrPartitions = errors.New("log has another number of partitions")

const (
	identityFile  = "log.json"
	cleanFile     = "clean.json"
	lockFile      = "lock"
	formatVersion = 1
)

// identity is what log.json holds.
type identity struct {
	Version     int    `json:"version"`
	Incarnation string `json:"incarnation"`
	Partitions  int    `json:"partitions"`
}

// cleanEnd is what clean.json holds: where each partition ended when the log was closed in order.
type cleanEnd struct {
	Next []uint64 `json:"next"`
}

func partitionDir(dir string, partition int) string {
	return filepath.Join(dir, fmt.Sprintf("p%04d", partition))
}

// lockDir takes the log for this process; closing the file gives it back.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// loadIdentity reads log.json, or makes it when the directory holds no log yet.
func loadIdentity(dir string, partitions int) (identity, error) {
	path := filepath.Join(dir, identityFile)
	var id identity
	err := readJSON(path, &id)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return createIdentity(dir, partitions)
	case err != nil:
		return id, err
	case id.Version != formatVersion:
		return id, fmt.Errorf("log %s has format version %d, this program knows %d", dir, id.Version, formatVersion)
	case id.Partitions != partitions:
		return id, fmt.Errorf("log %s was made with %d partitions, not %d: %w", dir, id.Partitions, partitions, ErrPartitions)
	}
	return id, nil
}

func createIdentity(dir string, partitions int) (identity, error) {
	left, err := filepath.Glob(filepath.Join(dir, "p[0-9]*", "*.wal"))
	if err != nil {
		return identity{}, err
	}
	path := filepath.Join(dir, identityFile)
	if len(left) > 0 {
		return identity{}, &eventlog.DamageError{File: path, Offset: -1, Reason: "missing, but there are segments of a log"}
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return identity{}, fmt.Errorf("draw incarnation: %w", err)
	}
	id := identity{Version: formatVersion, Incarnation: hex.EncodeToString(random[:]), Partitions: partitions}
	return id, writeJSON(path, id)
}
