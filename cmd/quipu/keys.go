package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/proxyclient"
	"github.com/quipudb/quipu/zookeeper"
)

func newKeysCommand(s *settings) *cobra.Command {
	parent := &cobra.Command{
		Use:   "keys",
		Short: "Give keys titles and owners",
		Long: `Gives keys titles and owners, by which people and SQL find them: what a key's id stands for,
and whose it is.`,
		Example: `  quipu keys import videos.csv --type view`,
	}
	parent.AddCommand(newKeysImportCommand(s))
	return parent
}

func newKeysImportCommand(s *settings) *cobra.Command {
	var eventType string
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Set titles and owners of keys from a CSV file",
		Long: `Sets titles and owners of keys from a CSV file (- is the standard input). Its first line
names the columns, in any order:

  type    event type; may be left out, or empty, with --type
  key     needed
  title   up to 255 bytes
  owner   up to 255 bytes

A column that is left out leaves titles or owners as they are; an empty cell clears them. A
key that was never counted is created with no counts. The whole file is checked before
anything is set: every mistake is told with its line. To import a file again changes
nothing.`,
		Example: `  quipu keys import videos.csv --type view
  zcat videos.csv.gz | quipu keys import - --type view`,
		Args: oneArgument("FILE"),
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			keys, err := readKeysFrom(args[0], c.InOrStdin(), eventType)
			if err != nil {
				return err
			}
			return importKeys(c, cfg, keys)
		}),
	}
	c.Flags().StringVar(&eventType, "type", "", "event `type` of the keys that have none in the file")
	return c
}

func readKeysFrom(path string, stdin io.Reader, eventType string) ([]wire.KeyAttributes, error) {
	if path == "-" {
		return readKeys("standard input", stdin, eventType)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readKeys(path, file, eventType)
}

// importKeys sends the keys to a cluster proxy, some thousand at a time.
func importKeys(c *cobra.Command, cfg *config.Effective, keys []wire.KeyAttributes) error {
	return withProxies(c, cfg, func(ctx context.Context, zk *zookeeper.Client, proxies *proxyclient.Client) error {
		if err := checkTypes(ctx, zk, keys); err != nil {
			return err
		}
		return sendKeys(ctx, c.OutOrStdout(), proxies, keys)
	})
}

// checkTypes refuses keys of event types that are not registered.
func checkTypes(ctx context.Context, zk *zookeeper.Client, keys []wire.KeyAttributes) error {
	types, err := zk.ListEventTypes(ctx)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(types))
	for _, t := range types {
		known[t.Name] = true
	}
	for _, k := range keys {
		if !known[k.Type] {
			return fmt.Errorf("no event type is named %q (key %q)", k.Type, k.Key)
		}
	}
	return nil
}

func sendKeys(ctx context.Context, out io.Writer, proxies *proxyclient.Client, keys []wire.KeyAttributes) error {
	var done wire.KeysImported
	for sent := 0; sent < len(keys); {
		n := min(len(keys)-sent, wire.MaxKeysPerImport)
		answer, err := proxies.ImportKeys(ctx, &wire.KeysImport{Keys: keys[sent : sent+n]})
		if err != nil {
			return fmt.Errorf("import keys %d to %d (what came before is set; importing again is safe): %w", sent+1, sent+n, err)
		}
		done.Created += answer.Created
		sent += n
	}
	_, err := fmt.Fprintf(out, "keys set: %d, of which new: %d\n", len(keys), done.Created)
	return err
}

// urlsOf returns the addresses of a role's members.
func urlsOf(snapshot *cluster.Snapshot, role cluster.Role) []string {
	urls := make([]string, 0, len(snapshot.Members[role]))
	for _, m := range snapshot.Members[role] {
		urls = append(urls, m.URL)
	}
	return urls
}
