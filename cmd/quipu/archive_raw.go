package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/audit/recount"
	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/rawfile"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/remote"
	"github.com/quipudb/quipu/rollup/rawarchive"
	"github.com/quipudb/quipu/wire"
)

// archivesRaw tells whether raw events go to cold storage, and the log keeps them until they have.
func archivesRaw(cfg *config.Effective) bool { return cfg.Archive.URL != "" && cfg.Archive.Raw == "on" }

// leastRawAge is the youngest age at which raw events are archived while there is room: younger ones make many small objects.
const leastRawAge = time.Minute

// rawInterval is how often the log is looked at, at least: how full it is decides how much time there is.
const rawInterval = 15 * time.Second

// newRoleRawArchiver makes the archiver of raw events; nil if there is nothing to do.
func newRoleRawArchiver(ctx context.Context, h *host) (a *rawarchive.Archiver, closeStore func() error, err error) {
	if !archivesRaw(h.cfg) {
		return nil, func() error { return nil }, nil
	}
	store, err := openCold(ctx, h.cfg, nil)
	if err != nil {
		return nil, nil, err
	}
	a, err = rawarchive.New(rawarchive.Config{
		Log: remote.New(remote.Config{URLs: h.urls(cluster.RoleIngest), Client: h.calls}), Store: store, Lock: h.zk.Lock,
		Cluster: h.directory.Snapshot().Settings.ClusterID, Keep: h.cfg.Archive.RawKeep, Rate: h.cfg.Archive.RawRate,
		After: min(h.cfg.Archive.RawAfter, max(h.cfg.Ingest.Retention, leastRawAge)), Interval: min(h.cfg.Archive.Interval, rawInterval),
		Logger: h.log, Registerer: h.registry,
	})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return a, store.Close, nil
}

// runBoth runs two until both have ended; the first error ends the other.
func runBoth(a, b func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return a(ctx) })
		group.Go(func() error { return b(ctx) })
		return group.Wait()
	}
}

func newArchiveRawCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "raw",
		Short: "Look after the raw events in cold storage",
		Long: `Looks after the raw events in cold storage: every batch of the event log, kept for
archive.raw_keep, so that counts can be computed again by another path. The role rollup
brings them there, and the log keeps what is not there yet (archive.raw).`,
		Example: `  quipu archive raw status`,
	}
	c.AddCommand(newArchiveRawStatusCommand(s))
	return c
}

func newArchiveRawStatusCommand(s *settings) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how far the raw events are archived",
		Long: `Shows for each partition which offsets of the log are in cold storage, with how many objects,
how old the oldest batch is that is not, and what the log was told it may trim. Fails if
batches are missing between two objects: they were trimmed before they were archived.`,
		Example: `  quipu archive raw status
  quipu archive raw status --json`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return withBackups(c, cfg, func(ctx context.Context, in *connected, store *blob.Store) error {
				return showRaw(ctx, c.OutOrStdout(), in, store, asJSON)
			})
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// rawStatus is how far one partition's raw events are archived.
type rawStatus struct {
	Partition int           `json:"partition"`
	Objects   int           `json:"objects"`
	From      string        `json:"from_date"` // "" if there are no objects
	First     uint64        `json:"archived_from"`
	Next      uint64        `json:"archived_before"`
	LogFirst  uint64        `json:"log_from"`
	LogNext   uint64        `json:"log_before"`
	Told      uint64        `json:"told_before"`
	WaitingMs int64         `json:"oldest_waiting_ms"` // age of the oldest batch that is not archived; 0: there is none
	Gaps      []rawfile.Gap `json:"gaps,omitempty"`
	OtherLogs int           `json:"objects_of_other_logs"`
}

// errGaps is why the status fails.
var errGaps = errors.New("raw events are missing in the archive for good")

func showRaw(ctx context.Context, out io.Writer, in *connected, store *blob.Store, asJSON bool) error {
	log := in.eventLog()
	hold, err := log.Hold(ctx)
	if err != nil {
		return err
	}
	all := make([]*rawStatus, 0, len(hold.Partitions))
	gaps := 0
	for _, p := range hold.Partitions {
		status, err := lookRaw(ctx, log, recount.NewArchive(store), hold, p)
		if err != nil {
			return err
		}
		all, gaps = append(all, status), gaps+len(status.Gaps)
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(all)
	} else {
		err = printRaw(out, hold, all)
	}
	if err == nil && gaps > 0 {
		err = fmt.Errorf("%w: %d gaps between objects", errGaps, gaps)
	}
	return err
}

func lookRaw(ctx context.Context, log *remote.Log, archive *recount.Archive, hold *wire.LogHold, p wire.LogHeldPartition) (*rawStatus, error) {
	names, err := archive.Names(ctx, p.Partition)
	if err != nil {
		return nil, err
	}
	own := rawfile.InOrder(rawfile.OfLog(names, hold.Incarnation))
	covered := rawfile.Cover(own)
	status := &rawStatus{
		Partition: p.Partition, Objects: len(own), First: covered.First, Next: covered.Next, LogFirst: p.First, LogNext: p.Next, Told: p.Archived,
		Gaps: covered.Gaps, OtherLogs: len(names) - len(own),
	}
	if len(own) > 0 {
		status.From = time.Unix(own[0].Date*60, 0).UTC().Format(time.DateOnly)
	}
	chunk, err := log.Read(ctx, p.Partition, max(covered.Next, p.First), 1, 0)
	if err != nil && !errors.Is(err, eventlog.ErrTrimmed) && !errors.Is(err, eventlog.ErrBeyondEnd) {
		return nil, err
	}
	if len(chunk.Records) > 0 {
		status.WaitingMs = max(hold.NowMs-chunk.Records[0].AppendTime, 1)
	}
	return status, nil
}

func printRaw(out io.Writer, hold *wire.LogHold, all []*rawStatus) error {
	holds := "keeps what is not archived"
	if !hold.Holds {
		holds = "does NOT keep what is not archived: ingest has other settings"
	}
	fmt.Fprintf(out, "log %s: %s of %s, %s\n\n", hold.Incarnation, config.Size(hold.UsedBytes), config.Size(hold.LimitBytes), holds)
	rows := [][]string{{"PARTITION", "OBJECTS", "SINCE", "ARCHIVED", "LOG HOLDS", "TOLD", "OLDEST WAITING", "GAPS"}}
	for _, s := range all {
		since, archived, told, waiting := "-", "-", "nothing", "-"
		if s.Objects > 0 {
			since, archived = s.From, fmt.Sprintf("%d-%d", s.First, s.Next-1)
		}
		if s.Told > 0 {
			told = "before " + strconv.FormatUint(s.Told, 10)
		}
		if s.WaitingMs > 0 {
			waiting = (time.Duration(s.WaitingMs) * time.Millisecond).Truncate(time.Second).String()
		}
		rows = append(rows, []string{
			strconv.Itoa(s.Partition), strconv.Itoa(s.Objects), since, archived, fmt.Sprintf("%d-%d", s.LogFirst, s.LogNext-1), told, waiting, strconv.Itoa(len(s.Gaps)),
		})
	}
	return printTable(out, rows)
}
