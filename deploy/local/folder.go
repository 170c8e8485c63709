package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// folderFormat is the version of a data folder's layout. A change that a program
// of the format before can't read raises it.
const folderFormat = 1

// Errors of a data folder. Test with errors.Is.
var (
	// ErrFolder says that a folder can't be used as a cluster's data folder.
	ErrFolder = errors.New("data folder can't be used")
	// ErrShape says that a cluster was asked for that a folder's cluster is not.
	ErrShape = errors.New("the cluster in the data folder is another one")
)

// folder is where a cluster of one machine keeps everything:
//
//	quipu.json            what the cluster is: format, shards, replicas, partitions
//	cluster.json          what runs: addresses and pids; written when all is ready
//	quipu.yaml            configuration for commands: quipu keys list --config data/quipu.yaml
//	topology.yaml         partitions, shards and databases, for quipu cluster init
//	analyst-SHARD.cnf     an analyst's way in: mariadb --defaults-file=data/analyst-s1.cnf
//	ports.json            port by name
//	passwords.json        of the database accounts; secrets/ has each in a file of its own
//	zookeeper/            the ZooKeeper server
//	databases/NAME/       a MariaDB server
//	roles/NAME/           a role: its configuration and its own data
//	cold/                 cold storage: Parquet files, see docs/archive.md
//	logs/NAME.log         what a role or a setup command says
type folder string

func (f folder) file(name string) string     { return filepath.Join(string(f), name) }
func (f folder) database(name string) string { return filepath.Join(string(f), "databases", name) }
func (f folder) role(name string) string     { return filepath.Join(string(f), "roles", name) }
func (f folder) log(name string) string      { return filepath.Join(string(f), "logs", name+".log") }

func (f folder) secret(a Account) string { return filepath.Join(string(f), "secrets", string(a)) }

// shape is what a cluster is made of. It is decided when the folder is made.
type shape struct {
	Format     int       `json:"format"`
	MadeBy     string    `json:"made_by"`
	MadeAt     time.Time `json:"made_at"`
	Shards     int       `json:"shards"`
	Replicas   int       `json:"replicas"`
	Partitions int       `json:"partitions"`
	PortBase   int       `json:"port_base"`
}

// open reads the folder's shape, or makes the folder that of a new cluster. found
// tells which.
func (f folder) open(wanted shape) (s shape, found bool, err error) {
	content, err := os.ReadFile(f.file("quipu.json"))
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.mustBeEmpty(); err != nil {
			return shape{}, false, err
		}
		s = wanted.withDefaults()
		return s, false, f.save(s)
	}
	if err != nil {
		return shape{}, false, fmt.Errorf("open data folder: %w", err)
	}
	if err := json.Unmarshal(content, &s); err != nil {
		return shape{}, false, fmt.Errorf("%w: %s: %w", ErrFolder, f.file("quipu.json"), err)
	}
	if s.Format != folderFormat {
		return shape{}, false, fmt.Errorf("%w: %s was made by Quipu %s in format %d, and this program knows format %d only; "+
			"use that version, or another folder with --data", ErrFolder, f, s.MadeBy, s.Format, folderFormat)
	}
	return s, true, s.mustBe(wanted)
}

func (f folder) save(s shape) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("save shape: %w", err)
	}
	return writeFileAtomically(f.file("quipu.json"), append(content, '\n'), 0o644)
}

// mustBeEmpty refuses to scatter a cluster over somebody's files.
func (f folder) mustBeEmpty() error {
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return fmt.Errorf("open data folder: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			return fmt.Errorf("%w: %s holds no Quipu cluster and is not empty (%s); give an empty folder, or none yet, with --data",
				ErrFolder, f, entry.Name())
		}
	}
	return nil
}

func (s shape) withDefaults() shape {
	s.Format, s.MadeAt = folderFormat, time.Now().UTC().Truncate(time.Second)
	s.Shards = orDefault(s.Shards, DefaultShards)
	s.Partitions = orDefault(s.Partitions, DefaultPartitions)
	s.PortBase = orDefault(s.PortBase, DefaultPortBase)
	switch {
	case s.Replicas == 0:
		s.Replicas = DefaultReplicas
	case s.Replicas < 0:
		s.Replicas = 0
	}
	return s
}

// mustBe compares with what is wanted; what is not said fits.
func (s shape) mustBe(wanted shape) error {
	replicas := wanted.Replicas
	if replicas < 0 {
		replicas = 0
	} else if replicas == 0 {
		replicas = s.Replicas
	}
	for _, part := range []struct {
		name      string
		has, want int
	}{
		{"shards", s.Shards, orDefault(wanted.Shards, s.Shards)},
		{"replicas", s.Replicas, replicas},
		{"partitions", s.Partitions, orDefault(wanted.Partitions, s.Partitions)},
	} {
		if part.has != part.want {
			return fmt.Errorf("%w: it has %d %s, not %d; leave the number out, or start a new cluster in another folder with --data",
				ErrShape, part.has, part.name, part.want)
		}
	}
	return nil
}
