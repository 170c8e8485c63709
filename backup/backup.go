// Package backup makes physical backups of a shard with mariadb-backup and puts them into object storage, and makes data folders of them.
//
//	mariadb-backup (beside the database) ──xbstream──► zstd ──► backup/shard=s1/20261122T093512Z-1f0c9a3e/part-0001.xb.zst, …
//	                                                            backup/shard=s1/20261122T093512Z-1f0c9a3e/backup.json, last
//
// # Guarantees
//
//   - backup.json is written once every part is there, and deleted first: what has none is no backup. It carries size and SHA-256 of
//     each part, which are compared whenever parts are read.
//   - A restored folder is whole or not there: it is made under another name, checked to be of this cluster and shard, given a term that
//     nobody has seen and its replication position, and renamed.
//   - What the shard counted since the backup is replayed from the log by the writers, who find the older checkpoints. Reach tells beforehand
//     whether the log goes back far enough.
//
// MariaDB only. Nothing here runs in a role: `quipu backup` is for people and timers, on the database's own host.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/quipudb/quipu/blob"
)

// Store is object storage; *blob.Store is one.
type Store interface {
	List(ctx context.Context, prefix string) iter.Seq2[blob.Attributes, error]
	Upload(ctx context.Context, name string, write func(io.Writer) error) (blob.Info, error)
	Download(ctx context.Context, name string, w io.Writer) (blob.Info, error)
	Delete(ctx context.Context, name string) error
}

// Errors of backups.
var (
	ErrNone        = errors.New("no such backup")
	ErrDescription = errors.New("not the description of a backup")
	ErrOther       = errors.New("the database is of another cluster or shard")
)

// Description says what a backup is. Format changes with its meaning.
type Description struct {
	Format        int       `json:"format"` // 1
	ClusterID     string    `json:"cluster_id"`
	Shard         string    `json:"shard"`
	Database      string    `json:"database"` // that it was taken from
	Server        string    `json:"server"`   // version
	SchemaVersion uint      `json:"schema_version"`
	Term          uint64    `json:"term"`
	Begun         time.Time `json:"begun"`
	Ended         time.Time `json:"ended"`
	Position      string    `json:"gtid_position"` // of the server's binary log at the end
	// Checkpoints as they were when the backup began: its own are these or later ones.
	Checkpoints []Checkpoint `json:"checkpoints"`
	Bytes       int64        `json:"bytes"` // uncompressed
	Parts       []Part       `json:"parts"`
}

const descriptionFormat = 1

// Checkpoint says from where on a partition of the backup needs the log.
type Checkpoint struct {
	Partition   int    `json:"partition"`
	NextOffset  uint64 `json:"next_offset"`
	WindowFrom  uint64 `json:"window_from"`
	Incarnation string `json:"incarnation"`
}

// Part is one object. The parts after one another are one zstd stream of one xbstream.
type Part struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Stored is a backup in object storage.
type Stored struct {
	Name        string // 20261122T093512Z-1f0c9a3e
	Shard       string
	Description *Description      // nil: incomplete, or under way
	Objects     []blob.Attributes // all of it
}

// Compressed is what a backup takes in object storage.
func (s *Stored) Compressed() (bytes int64) {
	for _, o := range s.Objects {
		bytes += o.Bytes
	}
	return bytes
}

const descriptionName = "backup.json"

func shardPrefix(shard string) string { return "backup/shard=" + shard + "/" }

func prefixOf(shard, name string) string { return shardPrefix(shard) + name + "/" }

var (
	nameForm  = regexp.MustCompile(`^\d{8}T\d{6}Z-[0-9a-f]{8}$`)
	shardForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}$`)
)

// checkShard keeps a shard's name from leaving its folder.
func checkShard(shard string) error {
	if !shardForm.MatchString(shard) {
		return fmt.Errorf("%q can't be the name of a shard", shard)
	}
	return nil
}

// List returns the backups of a shard, the oldest first, incomplete ones included.
func List(ctx context.Context, store Store, shard string) ([]*Stored, error) {
	if err := checkShard(shard); err != nil {
		return nil, err
	}
	byName := map[string]*Stored{}
	for object, err := range store.List(ctx, shardPrefix(shard)) {
		if err != nil {
			return nil, fmt.Errorf("list backups of shard %s: %w", shard, err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(object.Name, shardPrefix(shard)), "/")
		if !nameForm.MatchString(name) {
			continue
		}
		if byName[name] == nil {
			byName[name] = &Stored{Name: name, Shard: shard}
		}
		byName[name].Objects = append(byName[name].Objects, object)
	}
	var all []*Stored
	for _, s := range byName {
		if err := s.describe(ctx, store); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Stored) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// describe reads the description, if there is one.
func (s *Stored) describe(ctx context.Context, store Store) error {
	name := prefixOf(s.Shard, s.Name) + descriptionName
	if !slices.ContainsFunc(s.Objects, func(o blob.Attributes) bool { return o.Name == name }) {
		return nil
	}
	var text strings.Builder
	_, err := store.Download(ctx, name, &text)
	if errors.Is(err, blob.ErrNotFound) {
		return nil // it is being deleted
	}
	if err != nil {
		return fmt.Errorf("read description of backup %s: %w", s.Name, err)
	}
	s.Description, err = parseDescription(text.String(), s)
	if err != nil {
		return fmt.Errorf("read description of backup %s: %w", s.Name, err)
	}
	return nil
}

func parseDescription(text string, s *Stored) (*Description, error) {
	d := &Description{}
	if err := json.Unmarshal([]byte(text), d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDescription, err)
	}
	switch {
	case d.Format != descriptionFormat:
		return nil, fmt.Errorf("%w: format %d is not known", ErrDescription, d.Format)
	case d.Shard != s.Shard || d.ClusterID == "" || len(d.Parts) == 0:
		return nil, fmt.Errorf("%w: it is of shard %q of cluster %q and has %d parts", ErrDescription, d.Shard, d.ClusterID, len(d.Parts))
	}
	for _, p := range d.Parts {
		if !strings.HasPrefix(p.Name, prefixOf(s.Shard, s.Name)) {
			return nil, fmt.Errorf("%w: its part %q lies elsewhere", ErrDescription, p.Name)
		}
	}
	return d, nil
}

// Find returns the backup of that name, or the latest complete one for "latest".
func Find(ctx context.Context, store Store, shard, name string) (*Stored, error) {
	all, err := List(ctx, store, shard)
	if err != nil {
		return nil, err
	}
	for _, s := range slices.Backward(all) {
		if s.Description != nil && (name == s.Name || name == "latest") {
			return s, nil
		}
		if name == s.Name {
			return nil, fmt.Errorf("backup %s of shard %s is incomplete: %w", name, shard, ErrNone)
		}
	}
	return nil, fmt.Errorf("%s of shard %s: %w", name, shard, ErrNone)
}

// abandoned is how long the last part of a backup without a description may lie before it counts as left behind.
const abandoned = 24 * time.Hour

// Prune deletes all but the newest backups of a shard, and what backups that never ended left behind. It returns the names.
func Prune(ctx context.Context, store Store, shard string, keep int, now time.Time) ([]string, error) {
	all, err := List(ctx, store, shard)
	if err != nil {
		return nil, err
	}
	var deleted []string
	for _, s := range slices.Backward(all) {
		switch {
		case s.Description != nil && keep > 0:
			keep--
			continue
		case s.Description == nil && !s.abandoned(now):
			continue
		}
		if err := s.delete(ctx, store); err != nil {
			return deleted, fmt.Errorf("delete backup %s: %w", s.Name, err)
		}
		deleted = append(deleted, s.Name)
	}
	return deleted, nil
}

func (s *Stored) abandoned(now time.Time) bool {
	return !slices.ContainsFunc(s.Objects, func(o blob.Attributes) bool { return now.Sub(o.Modified) < abandoned })
}

// delete removes the description first: what is left if it stops is no backup.
func (s *Stored) delete(ctx context.Context, store Store) error {
	if err := store.Delete(ctx, prefixOf(s.Shard, s.Name)+descriptionName); err != nil {
		return err
	}
	for _, o := range s.Objects {
		if err := store.Delete(ctx, o.Name); err != nil {
			return err
		}
	}
	return nil
}
