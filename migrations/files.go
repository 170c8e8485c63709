package migrations

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed sql/*.sql
var embedded embed.FS

const folder = "sql"

// Direction is which way a file moves the schema.
type Direction string

// The directions.
const (
	Up   Direction = "up"
	Down Direction = "down"
)

// dataLossMark stands in the first line of a file that destroys data.
const dataLossMark = "-- destroys data"

// file is one step of the schema, one way.
type file struct {
	version      uint
	direction    Direction
	name         string // "0001_dimensions.up.sql"
	statements   []string
	destroysData bool
}

// set is every file, by version and direction.
type set struct {
	fsys     fs.FS
	versions []uint // ascending
	files    map[uint]map[Direction]file
}

var fileName = regexp.MustCompile(`^([0-9]+)_[a-z0-9_]+\.(up|down)\.sql$`)

// load reads the files below sql/. Every version must have both directions.
func load(fsys fs.FS) (*set, error) {
	names, err := fs.Glob(fsys, folder+"/*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	s := &set{fsys: fsys, files: map[uint]map[Direction]file{}}
	for _, path := range names {
		if err := s.add(path); err != nil {
			return nil, err
		}
	}
	for v, both := range s.files {
		if len(both) != 2 {
			return nil, fmt.Errorf("read migrations: version %d lacks its up or its down file", v)
		}
		s.versions = append(s.versions, v)
	}
	slices.SortFunc(s.versions, cmp.Compare)
	if len(s.versions) == 0 {
		return nil, fmt.Errorf("read migrations: there are none")
	}
	return s, nil
}

func (s *set) add(path string) error {
	name := path[len(folder)+1:]
	parts := fileName.FindStringSubmatch(name)
	if parts == nil {
		return fmt.Errorf("read migrations: %s is not named <version>_<words>.<up|down>.sql", name)
	}
	version, err := strconv.ParseUint(parts[1], 10, 31)
	if err != nil || version == 0 {
		return fmt.Errorf("read migrations: %s has no version above 0", name)
	}
	text, err := fs.ReadFile(s.fsys, path)
	if err != nil {
		return fmt.Errorf("read migration %s: %w", name, err)
	}
	f := file{
		version: uint(version), direction: Direction(parts[2]), name: name,
		statements: split(string(text)), destroysData: strings.HasPrefix(string(text), dataLossMark),
	}
	if s.files[f.version] == nil {
		s.files[f.version] = map[Direction]file{}
	}
	if other, twice := s.files[f.version][f.direction]; twice {
		return fmt.Errorf("read migrations: %s and %s have the same version", other.name, name)
	}
	s.files[f.version][f.direction] = f
	return nil
}

func (s *set) latest() uint { return s.versions[len(s.versions)-1] }

// has tells whether a version exists; 0 is the empty schema.
func (s *set) has(version uint) bool { return version == 0 || slices.Contains(s.versions, version) }

// path lists the files that lead from one version to another, in the order of running them.
func (s *set) path(from, to uint) []file {
	var steps []file
	for _, v := range s.versions {
		if from < v && v <= to {
			steps = append(steps, s.files[v][Up])
		}
	}
	for _, v := range slices.Backward(s.versions) {
		if to < v && v <= from {
			steps = append(steps, s.files[v][Down])
		}
	}
	return steps
}

// before returns the version that lies n steps below one.
func (s *set) before(version uint, n int) uint {
	at := slices.Index(s.versions, version) - n
	if at < 0 {
		return 0
	}
	return s.versions[at]
}
