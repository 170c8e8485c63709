package zookeeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
)

// snapshotFormat is the version of the file's form.
const snapshotFormat = 1

// errSnapshotContent is a file that does not hold a snapshot.
var errSnapshotContent = errors.New("file holds no valid snapshot")

// snapshotFile keeps what is known on disk. An empty path keeps nothing.
type snapshotFile struct{ path string }

type snapshotContent struct {
	Format     int                               `json:"format"`
	Settings   *cluster.Settings                 `json:"settings"`
	Topology   *cluster.Topology                 `json:"topology"`
	Members    map[cluster.Role][]cluster.Member `json:"members"`
	EventTypes []event.Type                      `json:"event_types"` // null: not known
}

// read returns nil when there is no file, errSnapshotContent when it makes no sense.
func (f snapshotFile) read() (*known, error) {
	if f.path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	var c snapshotContent
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w: %w", f.path, errSnapshotContent, err)
	}
	if c.Format != snapshotFormat || c.Settings == nil || c.Topology == nil {
		return nil, fmt.Errorf("read snapshot %s: %w: format %d", f.path, errSnapshotContent, c.Format)
	}
	if err := checkSettings(*c.Settings, *c.Topology); err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w: %w", f.path, errSnapshotContent, err)
	}
	return c.known(), nil
}

func (c snapshotContent) known() *known {
	k := newKnown()
	k.settings, k.topology = c.Settings, c.Topology
	for role, members := range c.Members {
		k.members[role] = make(map[string]cluster.Member, len(members))
		for _, m := range members {
			k.members[role][m.ID] = m
		}
	}
	k.typesRead = c.EventTypes != nil
	for _, t := range c.EventTypes {
		if t.Validate() == nil {
			k.types[t.Name] = t
		}
	}
	return k
}

// write replaces the file so that at any moment it is the old or the new one. It keeps nothing before settings and topology are known.
func (f snapshotFile) write(k *known) error {
	s := k.snapshot()
	if f.path == "" || s == nil {
		return nil
	}
	c := snapshotContent{Format: snapshotFormat, Settings: &s.Settings, Topology: &s.Topology, Members: s.Members}
	if k.typesRead {
		c.EventTypes = slices.AppendSeq([]event.Type{}, maps.Values(k.types))
	}
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := replaceFile(f.path, data); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// hint names the file in a message about what it holds.
func (f snapshotFile) hint() string {
	if f.path == "" {
		return ""
	}
	return "; if the cluster was created anew on purpose, remove " + f.path
}

// replaceFile writes a temporary file, flushes it, renames it, and flushes the folder. One process at a time may do so.
func replaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
