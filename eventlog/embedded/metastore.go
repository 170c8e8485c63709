package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft-wal/types"
	"github.com/quipudb/quipu/eventlog"
)

const metaFile = "segments"

// metaStore keeps raft-wal's list of segments in a checksummed file. (Its own store, bbolt, has no checksum over its pages and
// can't be closed through the log, so a partition could not be opened again in the same process.)
type metaStore struct {
	dir string

	mu    sync.Mutex
	state types.PersistentState
}

var _ types.MetaStore = (*metaStore)(nil)

// load reads the list. Without one there must be no segment either: raft-wal would delete those it does not know.
func (m *metaStore) load() error {
	path := filepath.Join(m.dir, metaFile)
	err := readJSON(path, &m.state)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	left, err := filepath.Glob(filepath.Join(m.dir, "*.wal"))
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return &eventlog.DamageError{File: path, Offset: -1, Reason: fmt.Sprintf("missing, but there are %d segments", len(left))}
	}
	return nil
}

// Load returns what load read.
func (m *metaStore) Load(string) (types.PersistentState, error) { return m.current(), nil }

func (m *metaStore) current() types.PersistentState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// CommitState replaces the list.
func (m *metaStore) CommitState(s types.PersistentState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := writeJSON(filepath.Join(m.dir, metaFile), s); err != nil {
		return err
	}
	m.state = s
	return nil
}

// GetStable and SetStable belong to raft and have no use here.
func (m *metaStore) GetStable([]byte) ([]byte, error) { return nil, errors.ErrUnsupported }

// SetStable is not supported.
func (m *metaStore) SetStable(_, _ []byte) error { return errors.ErrUnsupported }

// Close has nothing to close.
func (m *metaStore) Close() error { return nil }
