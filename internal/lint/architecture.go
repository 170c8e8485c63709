package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// layer is where a part of the tree stands in the dependency rule:
// cmd → roles → adapters → domain → basis → standard library.
type layer string

const (
	basis   layer = "basis"   // what the standard library could have; knows nothing of ours
	domain  layer = "domain"  // nouns and pure rules; knows nothing of ours
	adapter layer = "adapter" // one technology each; knows the domain
	role    layer = "role"    // one service each; knows adapters
	setting layer = "config"  // read by cmd alone
	wiring  layer = "cmd"     // knows all of them, known by none
	proof   layer = "test"    // test equipment: knows what it needs
)

// parts says in which layer each part of the tree is. A part is a folder with
// everything under it; the longest name that fits counts.
var parts = map[string]layer{
	"internal/wait": basis,

	"event":   domain,
	"cluster": domain,

	"mysql":        adapter,
	"zookeeper":    adapter,
	"eventlog":     adapter,
	"wire":         adapter,
	"blob":         adapter,
	"migrations":   adapter,
	"telemetry":    adapter,
	"client":       adapter,
	"deploy/local": adapter,

	"ingest":        role,
	"writer":        role,
	"cluster-proxy": role,
	"shard-proxy":   role,
	"reader":        role,
	"rollup":        role,
	"failover":      role,
	"backup":        role,
	"audit":         role,
	"load":          role,

	"config": setting,
	"cmd":    wiring,

	"testkit":       proof,
	"scenario":      proof,
	"bench":         proof,
	"internal/lint": proof,

	"deploy/prometheus": proof,
}

// below lists which layers a layer may import, besides its own part.
var below = map[layer][]layer{
	basis:   {},
	domain:  {basis},
	adapter: {domain, basis},
	role:    {adapter, domain, basis},
	setting: {domain, basis},
	wiring:  {role, setting, adapter, domain, basis},
	proof:   {proof, role, adapter, domain, basis},
}

// exceptions are imports across the rule, each for a reason.
var exceptions = map[string]string{
	// The log as a writer sees it from another process: eventlog over HTTP.
	"eventlog/remote → wire": "eventlog/remote speaks wire's HTTP",
}

// Architecture reports every import that breaks the dependency rule. Tests are
// free to import what they need but cmd, and the settings only where cmd may.
func Architecture(sources []*Source) []string {
	var violations []string
	for _, source := range sources {
		for _, imported := range source.Imports {
			target, ok := ours(imported)
			if !ok {
				continue
			}
			if why := forbidden(source, target); why != "" {
				violations = append(violations, fmt.Sprintf("%s imports %s: %s", source.Path, target, why))
			}
		}
		if _, _, ok := partOf(source.Package()); !ok && !(source.Test() && source.Package() == ".") {
			violations = append(violations, fmt.Sprintf("%s: its folder is in no layer; say in internal/lint where it stands", source.Path))
		}
	}
	slices.Sort(violations)
	return slices.Compact(violations)
}

// forbidden says why a file may not import a package of ours, or nothing.
func forbidden(source *Source, target string) string {
	from, fromLayer, ok := partOf(source.Package())
	if !ok {
		return "" // reported as such
	}
	to, toLayer, ok := partOf(target)
	if !ok {
		return "it is in no layer"
	}
	switch {
	case from == to:
		return ""
	case toLayer == wiring:
		return "nobody imports cmd"
	case toLayer == setting:
		if fromLayer == wiring {
			return ""
		}
		return "only cmd imports config"
	case source.Test(), exceptions[source.Package()+" → "+target] != "":
		return ""
	case slices.Contains(below[fromLayer], toLayer):
		return ""
	case fromLayer == toLayer:
		return fmt.Sprintf("one %s does not import another", fromLayer)
	default:
		return fmt.Sprintf("%s does not import %s", fromLayer, toLayer)
	}
}

// UnusedExceptions lists the exceptions that no file needs.
func UnusedExceptions(sources []*Source) []string {
	used := map[string]bool{}
	for _, source := range sources {
		for _, imported := range source.Imports {
			if target, ok := ours(imported); ok && !source.Test() {
				used[source.Package()+" → "+target] = true
			}
		}
	}
	var unused []string
	for exception := range exceptions {
		if !used[exception] {
			unused = append(unused, exception)
		}
	}
	slices.Sort(unused)
	return unused
}

func partOf(dir string) (string, layer, bool) {
	for part := dir; part != "." && part != "/"; part = path.Dir(part) {
		if layer, ok := parts[part]; ok {
			return part, layer, true
		}
	}
	return "", "", false
}

// PackageNames reports folders named after no noun of the domain.
func PackageNames(sources []*Source) []string {
	var violations []string
	for _, source := range sources {
		for _, name := range strings.Split(source.Package(), "/") {
			if slices.Contains([]string{"util", "utils", "common", "helpers", "helper", "types", "manager", "misc"}, name) {
				violations = append(violations, fmt.Sprintf("%s: a package is named after what it is about, not %s", source.Package(), name))
			}
		}
	}
	slices.Sort(violations)
	return slices.Compact(violations)
}
