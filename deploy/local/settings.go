package local

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// settings of a role by path, "cluster.name". Values are what JSON can say.
type settings map[string]any

// yaml renders the settings as a configuration file, sections nested and sorted.
func (s settings) yaml(comment string) []byte {
	tree := map[string]any{}
	for path, value := range s {
		at := tree
		keys := strings.Split(path, ".")
		for _, key := range keys[:len(keys)-1] {
			next, ok := at[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[key] = next
			}
			at = next
		}
		at[keys[len(keys)-1]] = value
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# %s\n", comment)
	writeSection(&text, tree, 0)
	return []byte(text.String())
}

// writeSection writes values in JSON, which is YAML too.
func writeSection(text *strings.Builder, section map[string]any, depth int) {
	for _, key := range slices.Sorted(maps.Keys(section)) {
		fmt.Fprintf(text, "%s%s:", strings.Repeat("  ", depth), key)
		if below, ok := section[key].(map[string]any); ok {
			text.WriteByte('\n')
			writeSection(text, below, depth+1)
			continue
		}
		value, err := json.Marshal(section[key])
		if err != nil {
			panic(fmt.Sprintf("setting %s: %v", key, err)) // values are ours
		}
		fmt.Fprintf(text, " %s\n", value)
	}
}

// common are the settings that every process has.
func (c *Cluster) common(dataDir string) settings {
	return settings{
		"cluster.name":      clusterName,
		"cluster.zookeeper": []string{c.zookeeper.Address()},
		"cluster.data_dir":  dataDir,
		"log.format":        "json",
		"archive.url":       "file://" + c.folder.file("cold"),
	}
}

func (s settings) account(section string, account Account, f folder) {
	s["accounts."+section+".user"] = string(account)
	s["accounts."+section+".password_file"] = f.secret(account)
}

// commandSettings are those of `quipu migrate`, `quipu keys` and the like.
func (c *Cluster) commandSettings() settings {
	s := c.common(c.folder.file("commands"))
	s["log.format"] = "text"
	s["log.level"] = "warn"
	s.account("migrate", AccountMigrate, c.folder)
	s.account("read", AccountRead, c.folder)
	s.account("backup", AccountBackup, c.folder)
	s.account("failover", AccountFailover, c.folder)
	s.account("replicate", AccountReplicate, c.folder)
	s.account("rebuild", AccountRebuild, c.folder)
	s["reader.listen"] = LoopbackAddress(c.ports["reader"])
	s["ingest.listen"] = LoopbackAddress(c.ports["ingest"])
	s["cluster_proxy.listen"] = LoopbackAddress(c.ports["cluster-proxy"])
	return s
}

// roleSettings are those of one role. Only who needs a password is told of it.
func (c *Cluster) roleSettings(name, role, shard string) settings {
	s := c.common(c.folder.role(name))
	section := strings.ReplaceAll(role, "-", "_")
	s[section+".listen"] = LoopbackAddress(c.ports[name])
	s["cluster.member_id"] = name
	if role == "failover" {
		s.account("failover", AccountFailover, c.folder)
		s.account("replicate", AccountReplicate, c.folder)
		s.account("rebuild", AccountRebuild, c.folder)
	}
	if shard != "" {
		s[section+".shard"] = shard
		s.account("apply", AccountApply, c.folder)
		s.account("read", AccountRead, c.folder)
		s.account("monitor", AccountMonitor, c.folder)
		s.account("analyst", AccountAnalyst, c.folder)
	}
	return s
}
