package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/rollup/archive"
	"github.com/quipudb/quipu/wire"
)

func newArchiveStatusCommand(s *settings) *cobra.Command {
	o := &archiveOptions{}
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what of each shard is in cold storage",
		Long: `Shows, for each shard and resolution, before which instant rows change no more (late events
go beside them) and before which they are in cold storage, with how many objects, rows and
bytes; what late events added to cold days since and is still in the shard; ranges that were
brought back; and objects that are announced, which are being written or were left behind.`,
		Example: `  quipu archive status
  quipu archive status --shard s1 --json`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return withShards(c, cfg, o, func(ctx context.Context, d *archiveDesk) error { return d.show(ctx, c.OutOrStdout(), o.json) })
		}),
	}
	o.bindShard(c)
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// show prints the states of the shards.
func (d *archiveDesk) show(ctx context.Context, out io.Writer, asJSON bool) error {
	var all []*archive.Status
	for _, shard := range d.shards {
		status, err := archive.Look(ctx, d.calls, shard)
		if err != nil {
			return err
		}
		all = append(all, status)
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(all)
	}
	table := [][]string{{"SHARD", "RESOLUTION", "FROZEN BEFORE", "COLD BEFORE", "OBJECTS", "RETIRED", "ROWS", "BYTES", "LATE ROWS", "RESTORED"}}
	for _, status := range all {
		for i, mark := range status.Marks {
			stored := archive.Stored{}
			if i < len(status.Stored) {
				stored = status.Stored[i]
			}
			table = append(table, []string{
				status.Shard, mark.Resolution, dayText(mark.FrozenBefore), dayText(mark.ColdBefore), strconv.Itoa(stored.Objects), strconv.Itoa(stored.Retired),
				strconv.FormatInt(stored.Rows, 10), config.Size(stored.Bytes).String(), strconv.FormatInt(lateRows(status.Late, mark.Resolution), 10),
				restoredText(status.Restored, mark.Resolution),
			})
		}
	}
	if err := printTable(out, table); err != nil {
		return err
	}
	for _, status := range all {
		if n := len(status.Intents); n > 0 {
			oldest := time.UnixMilli(status.Intents[0].CreatedAt).UTC().Format(time.RFC3339)
			fmt.Fprintf(out, "shard %s: %d objects are announced, the oldest since %s\n", status.Shard, n, oldest)
		}
	}
	return nil
}

// dayText writes a mark; nothing is before the beginning of time.
func dayText(minute int64) string {
	if minute <= 0 {
		return "-"
	}
	return time.Unix(minute*60, 0).UTC().Format(time.DateOnly)
}

func lateRows(all []wire.LateRows, resolution string) (rows int64) {
	for _, late := range all {
		if late.Resolution == resolution {
			rows += late.Rows
		}
	}
	return rows
}

func restoredText(all []wire.RestoredRange, resolution string) string {
	text := ""
	for _, r := range all {
		if r.Resolution != resolution {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += dayText(r.From) + " to " + dayText(r.To)
		if r.State != "ready" {
			text += " (" + r.State + ")"
		}
	}
	if text == "" {
		return "-"
	}
	return text
}
