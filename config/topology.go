package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/quipudb/quipu/cluster"
)

// topologyFile is what a topology is read from:
//
//	partitions: 16
//	shards:
//	  - id: s1
//	    partitions: 0-7          # optional: without any, partitions are spread evenly, in order
//	    databases:
//	      - {id: s1-a, address: "10.0.0.1:3306", role: primary, zone: a}
//	      - {id: s1-b, address: "10.0.0.2:3306", role: replica, zone: b}
type topologyFile struct {
	Partitions int         `yaml:"partitions"`
	Shards     []shardFile `yaml:"shards"`
}

type shardFile struct {
	ID         string         `yaml:"id"`
	Partitions string         `yaml:"partitions"`
	Databases  []databaseFile `yaml:"databases"`
}

type databaseFile struct {
	ID      string `yaml:"id"`
	Address string `yaml:"address"`
	Role    string `yaml:"role"`
	Zone    string `yaml:"zone"`
}

// LoadTopology reads the topology of a new cluster as strictly as Load does.
func LoadTopology(path string) (cluster.Topology, error) {
	data, err := readFile(path)
	if err != nil {
		return cluster.Topology{}, Errors{{Origin: path, Reason: err.Error()}}
	}
	var file topologyFile
	d := &decoder{source: path, lines: true, origins: map[string]string{}}
	if node := d.parse(data); node != nil {
		d.mapping(reflect.ValueOf(&file).Elem(), node, "")
	}
	if len(d.errors) > 0 {
		return cluster.Topology{}, d.errors
	}
	topology, problem := file.topology()
	if problem == nil {
		if err := topology.Validate(); err != nil {
			problem = &Error{Reason: err.Error()}
		}
	}
	if problem != nil {
		problem.Origin = path
		return cluster.Topology{}, Errors{problem}
	}
	return topology, nil
}

func (f *topologyFile) topology() (cluster.Topology, *Error) {
	if f.Partitions < 1 || f.Partitions > cluster.MaxPartitions {
		return cluster.Topology{}, &Error{Path: "partitions", Reason: fmt.Sprintf("must be from 1 to %d, is %d", cluster.MaxPartitions, f.Partitions)}
	}
	t := cluster.Topology{Partitions: make([]string, f.Partitions)}
	for i, s := range f.Shards {
		shard := cluster.Shard{ID: s.ID}
		for j, d := range s.Databases {
			if err := checkAddress(d.Address, false); err != nil {
				return t, &Error{Path: fmt.Sprintf("shards[%d].databases[%d].address", i, j), Reason: err.Error()}
			}
			shard.Databases = append(shard.Databases, cluster.Database{ID: d.ID, Address: d.Address, Role: cluster.DatabaseRole(d.Role), Zone: d.Zone})
		}
		t.Shards = append(t.Shards, shard)
		if err := assign(t.Partitions, s); err != nil {
			return t, &Error{Path: fmt.Sprintf("shards[%d].partitions", i), Reason: err.Error()}
		}
	}
	if !f.assigned() {
		for p := range t.Partitions {
			if len(f.Shards) > 0 {
				t.Partitions[p] = f.Shards[p*len(f.Shards)/f.Partitions].ID
			}
		}
	}
	for p, shard := range t.Partitions {
		if shard == "" {
			return t, &Error{Path: "shards", Reason: fmt.Sprintf("no shard has partition %d", p)}
		}
	}
	return t, nil
}

// assigned tells whether any shard names its partitions.
func (f *topologyFile) assigned() bool {
	for _, s := range f.Shards {
		if s.Partitions != "" {
			return true
		}
	}
	return false
}

// assign gives a shard the partitions that it names: "0-7", or "0-3,8,10-11".
func assign(partitions []string, s shardFile) error {
	for span := range strings.SplitSeq(s.Partitions, ",") {
		if strings.TrimSpace(span) == "" {
			continue
		}
		first, last, found := strings.Cut(span, "-")
		if !found {
			last = first
		}
		from, err1 := strconv.Atoi(strings.TrimSpace(first))
		to, err2 := strconv.Atoi(strings.TrimSpace(last))
		if err1 != nil || err2 != nil || from < 0 || to < from || to >= len(partitions) {
			return fmt.Errorf("must be ranges within 0-%d, is %q", len(partitions)-1, s.Partitions)
		}
		for p := from; p <= to; p++ {
			if partitions[p] != "" {
				return fmt.Errorf("partition %d is given to %s already", p, partitions[p])
			}
			partitions[p] = s.ID
		}
	}
	return nil
}
