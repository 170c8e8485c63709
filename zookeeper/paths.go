package zookeeper

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/quipudb/quipu/cluster"
)

// DefaultRoot is the node below which everything is.
const DefaultRoot = "/quipu"

// paths names the nodes below a root.
type paths struct{ root string }

func newPaths(root string) paths {
	if root == "" {
		root = DefaultRoot
	}
	return paths{path.Clean("/" + strings.Trim(root, "/"))}
}

func (p paths) at(names ...string) string { return path.Join(append([]string{p.root}, names...)...) }

func (p paths) settings() string                 { return p.at("cluster") }
func (p paths) topology() string                 { return p.at("topology") }
func (p paths) eventTypes() string               { return p.at("event-types") }
func (p paths) eventType(name string) string     { return p.at("event-types", name) }
func (p paths) members(role cluster.Role) string { return p.at("members", string(role)) }
func (p paths) leases() string                   { return p.at("leases") }
func (p paths) lease(partition int) string       { return p.at("leases", strconv.Itoa(partition)) }
func (p paths) holder(partition int) string      { return p.at("leases", strconv.Itoa(partition), "holder") }
func (p paths) lock(name string) string          { return p.at("locks", name) }
func (p paths) mark(name string) string          { return p.at("marks", name) }
func (p paths) failover(shard string) string     { return p.at("failovers", shard) }
func (p paths) log() string                      { return p.at("log") }

func (p paths) member(role cluster.Role, id string) string {
	return p.at("members", string(role), id)
}

// folders lists the nodes that only hold others, parents first.
func (p paths) folders() []string {
	out := []string{p.eventTypes(), p.at("failovers"), p.leases(), p.at("locks"), p.at("marks"), p.at("members")}
	for _, role := range cluster.Roles() {
		out = append(out, p.members(role))
	}
	return out
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}$`)

// checkName refuses what can't name a node.
func checkName(what, name string) error {
	if !nodeName.MatchString(name) {
		return fmt.Errorf("%w: %s %q must be 1 to 128 of A-Z, a-z, 0-9, '_', '.', ':', '@', '-', and start with a letter or digit", ErrName, what, name)
	}
	return nil
}
