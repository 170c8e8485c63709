package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/rollup/archive"
)

// progressInterval is between two lines of progress.
const progressInterval = 5 * time.Second

// verifyOptions are the flags of archive verify.
type verifyOptions struct {
	archiveOptions
	days
	sample  float64
	orphans bool
}

func newArchiveVerifyCommand(s *settings) *cobra.Command {
	o := &verifyOptions{}
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check cold storage against the manifests",
		Long: `Checks that each object that a shard's manifest names is in cold storage with its size, and
reads it as a whole: its checksum, the order of its rows, and whether its rows, counts and
sums are those of the manifest. --sample 0.1 reads a tenth of the objects, --sample 0 none.

What is missing, damaged or wrong makes queries that need it fail, and is listed; the exit
code is 1 then. Objects that nothing refers to (orphans) are listed as well; no answer
depends on them, and the role rollup deletes them after archive.delete_grace.
--remove-orphans does so now, with the same grace, if every database of every shard can be
asked.`,
		Example: `  quipu archive verify
  quipu archive verify --from 2026-01-01 --to 2026-02-01 --shard s1
  quipu archive verify --sample 0.05
  quipu archive verify --sample 0 --remove-orphans`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			from, to, err := o.minutes()
			if err != nil {
				return err
			}
			if o.sample < 0 || o.sample > 1 {
				return usagef("flag --sample must be 0 to 1, is %g", o.sample)
			}
			return withArchive(c, cfg, &o.archiveOptions, func(ctx context.Context, d *archiveDesk) error {
				return o.verify(ctx, c, d, archive.Check{From: from, To: to, Shards: d.shards, Sample: o.sample, Progress: progressOf(c.ErrOrStderr())})
			})
		}),
	}
	o.bind(c, "that is checked")
	o.bindShard(c)
	c.Flags().Float64Var(&o.sample, "sample", 1, "`share` of the objects that are read as a whole, 0 to 1")
	c.Flags().BoolVar(&o.orphans, "remove-orphans", false, "delete old objects that nothing refers to")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// progressOf tells now and then how far a verification came.
func progressOf(out io.Writer) func(objects int, bytes int64) {
	next := time.Now().Add(progressInterval)
	return func(objects int, bytes int64) {
		if now := time.Now(); now.After(next) {
			fmt.Fprintf(out, "%d objects checked, %d MiB read\n", objects, bytes>>20)
			next = now.Add(progressInterval)
		}
	}
}

func (o *verifyOptions) verify(ctx context.Context, c *cobra.Command, d *archiveDesk, check archive.Check) error {
	report, err := d.archiver.Verify(ctx, check)
	if err != nil {
		return err
	}
	if err := o.print(c.OutOrStdout(), report); err != nil {
		return err
	}
	if o.orphans {
		removed, err := d.archiver.RemoveOrphans(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "deleted %d orphans older than %s\n", len(removed), config.FormatDuration(d.grace))
	}
	if n := report.Errors(); n > 0 {
		return fmt.Errorf("%d of %d objects are missing, damaged or wrong", n, report.Objects)
	}
	return nil
}

func (o *verifyOptions) print(out io.Writer, report *archive.Report) error {
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	for _, f := range report.Findings {
		shard := ""
		if f.Shard != "" {
			shard = " (shard " + f.Shard + ")"
		}
		if _, err := fmt.Fprintf(out, "%s %s%s: %s\n", f.Kind, f.Object, shard, f.Detail); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%d objects: %d read as a whole with %d rows in %d bytes, %d errors, %d orphans\n",
		report.Objects, report.Read, report.Rows, report.Bytes, report.Errors(), len(report.Findings)-report.Errors())
	return err
}
