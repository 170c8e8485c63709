package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/zookeeper"
)

func newClusterCommand(s *settings) *cobra.Command {
	parent := &cobra.Command{
		Use:   "cluster",
		Short: "Create a cluster in ZooKeeper, and show it",
		Long: `Creates a cluster in ZooKeeper, and shows it: how many partitions there are, which shard
owns which of them, and which databases a shard has. ZooKeeper is where the roles learn all
of that.`,
		Example: `  quipu cluster init --topology topology.yaml
  quipu cluster show`,
	}
	parent.AddCommand(newClusterInitCommand(s), newClusterShowCommand(s))
	return parent
}

func newClusterInitCommand(s *settings) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "init",
		Short: "Create the cluster",
		Long: `Creates the cluster below cluster.root in ZooKeeper: its id (cluster.name and a random
part), the secret key of its event ids' fingerprints, and the topology of the given file.
The number of partitions can never be changed; 16 suit one machine, 256 and more a fleet.

To run it again with the same topology changes nothing and succeeds; with another topology
it fails.

The topology is a YAML file:

  partitions: 16
  shards:
    - id: s1
      partitions: 0-7          # optional: without any, partitions are spread evenly, in order
      databases:
        - {id: s1-a, address: "10.0.0.1:3306", role: primary, zone: a}
        - {id: s1-b, address: "10.0.0.2:3306", role: replica, zone: b}
    - id: s2
      partitions: 8-15
      databases:
        - {id: s2-a, address: "10.0.0.2:3306", role: primary, zone: b}`,
		Example: `  quipu cluster init --topology topology.yaml --zookeeper zk1:2181,zk2:2181,zk3:2181`,
		Args:    noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			if file == "" {
				return usagef("flag --topology is needed")
			}
			topology, err := config.LoadTopology(file)
			if err != nil {
				return err
			}
			return withZooKeeper(c.Context(), cfg, logger(c.ErrOrStderr(), cfg), func(ctx context.Context, zk *zookeeper.Client) error {
				return initCluster(ctx, c.OutOrStdout(), cfg, zk, topology)
			})
		}),
	}
	c.Flags().StringVar(&file, "topology", "", "topology `file` (needed)")
	return c
}

func initCluster(ctx context.Context, out io.Writer, cfg *config.Effective, zk *zookeeper.Client, topology cluster.Topology) error {
	created, err := zk.Bootstrap(ctx, newSettingsOf(cfg, topology), topology)
	if err != nil {
		return err
	}
	settings, err := zk.Settings(ctx)
	if err != nil {
		return err
	}
	if created {
		_, err = fmt.Fprintf(out, "created the cluster %s with %d partitions on %d shards\n", settings.ClusterID, settings.Partitions, len(topology.Shards))
		return err
	}
	if err := checkCluster(cfg, settings); err != nil {
		return err
	}
	found, _, err := zk.Topology(ctx)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(asMade(found), asMade(topology)) {
		return fmt.Errorf("the cluster %s exists with another topology: quipu cluster show prints it", settings.ClusterID)
	}
	_, err = fmt.Fprintf(out, "the cluster %s is there already\n", settings.ClusterID)
	return err
}

// asMade returns a topology without what changes while the cluster runs: which database of a shard is its primary, and how the others do.
func asMade(t cluster.Topology) cluster.Topology {
	shards := make([]cluster.Shard, len(t.Shards))
	for i, shard := range t.Shards {
		shards[i] = cluster.Shard{ID: shard.ID, Databases: slices.Clone(shard.Databases)}
		for d := range shards[i].Databases {
			database := &shards[i].Databases[d]
			database.Role, database.State, database.Unpromotable = cluster.Replica, cluster.Attached, false
		}
	}
	return cluster.Topology{Shards: shards, Partitions: t.Partitions}
}

// newSettingsOf makes the settings of a new cluster. The window that decides on duplicates starts with a secret of its own, so
// that nobody can craft ids that collide.
func newSettingsOf(cfg *config.Effective, topology cluster.Topology) cluster.Settings {
	var id [4]byte
	var key [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	_, _ = rand.Read(key[:])
	return cluster.Settings{
		ClusterID:  cfg.Cluster.Name + clusterIDSeparator + hex.EncodeToString(id[:]),
		Partitions: len(topology.Partitions),
		DedupKey:   hex.EncodeToString(key[:]),
		CreatedAt:  time.Now().UTC().Truncate(time.Second),
		Window:     cfg.Cluster.Window,
	}
}

func newClusterShowCommand(s *settings) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show settings, topology and live members",
		Long: `Shows what ZooKeeper holds of the cluster: its id, which partitions each shard owns, its
databases, and the processes that are registered just now. The key of the event ids'
fingerprints is secret and not shown.`,
		Example: `  quipu cluster show
  quipu cluster show --json`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			log := logger(c.ErrOrStderr(), cfg)
			return withZooKeeper(c.Context(), cfg, log, func(ctx context.Context, zk *zookeeper.Client) error {
				snapshot, err := currentSnapshot(ctx, zk, log)
				if err != nil {
					return err
				}
				if asJSON {
					return printSnapshotJSON(c.OutOrStdout(), snapshot)
				}
				return printSnapshot(c.OutOrStdout(), snapshot)
			})
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printSnapshotJSON(out io.Writer, s *cluster.Snapshot) error {
	shown := *s
	shown.Settings.DedupKey = config.Redacted
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(shown)
}

// printSnapshot writes three tables: the cluster, its databases, its members.
func printSnapshot(out io.Writer, s *cluster.Snapshot) error {
	about := [][]string{
		{"cluster", s.Settings.ClusterID + ", created " + s.Settings.CreatedAt.Format(time.RFC3339)},
		{"partitions", strconv.Itoa(s.Settings.Partitions)},
		{"de-duplication window", s.Settings.Window.String()},
	}
	databases := [][]string{{"SHARD", "PARTITIONS", "DATABASE", "ROLE", "ADDRESS", "ZONE"}}
	for _, shard := range s.Topology.Shards {
		owned := ranges(s.Topology.PartitionsOf(shard.ID))
		for _, d := range shard.Databases {
			role := string(d.Role)
			if d.Unpromotable {
				role += " (unpromotable)"
			}
			if d.State != cluster.Attached {
				role += " (" + string(d.State) + ")"
			}
			databases = append(databases, []string{shard.ID, owned, d.ID, role, d.Address, d.Zone})
		}
	}
	members := [][]string{{"ROLE", "MEMBER", "ADDRESS", "SHARD", "ZONE"}}
	for _, role := range cluster.Roles() {
		for _, m := range s.Members[role] {
			members = append(members, []string{string(role), m.ID, m.URL, m.Shard, m.Zone})
		}
	}
	for i, table := range [][][]string{about, databases, members} {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := printTable(out, table); err != nil {
			return err
		}
	}
	return nil
}

// printTable aligns columns, and leaves no blanks at the ends of lines.
func printTable(out io.Writer, rows [][]string) error {
	var aligned bytes.Buffer
	w := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(aligned.String()) {
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// ranges writes ascending numbers as "0-7, 9".
func ranges(numbers []int) string {
	if len(numbers) == 0 {
		return "none"
	}
	var spans []string
	for i := 0; i < len(numbers); {
		first := numbers[i]
		last := first
		for i++; i < len(numbers) && numbers[i] == last+1; i++ {
			last = numbers[i]
		}
		span := strconv.Itoa(first)
		if last > first {
			span += "-" + strconv.Itoa(last)
		}
		spans = append(spans, span)
	}
	return strings.Join(spans, ", ")
}
