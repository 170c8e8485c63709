package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/migrations"
)

func newMigrateCommand(s *settings) *cobra.Command {
	m := &migration{settings: s}
	parent := &cobra.Command{
		Use:   "migrate",
		Short: "Change the schema of the shards, and show it",
		Long: `Runs the schema's migrations, which are part of this program, on the primaries of the
shards; replicas follow. Which databases these are it learns from the topology in ZooKeeper;
it connects as accounts.migrate.

One shard goes first, the others follow once it has succeeded. Two runs never work at once:
a lock in ZooKeeper and another in each database see to that. A migration that stopped half
way is reported with its shard, file and statement, and nothing runs on top of it until
'quipu migrate force' says what the shard really has.

Upgrade the roles first, then migrate: a build knows some older schemas, and refuses those
that it doesn't know.`,
		Example: `  quipu migrate status
  quipu migrate up --dry-run
  quipu migrate up`,
	}
	parent.PersistentFlags().StringVar(&m.shard, "shard", "", "work on this `shard` only")
	parent.AddCommand(m.upCommand(), m.downCommand(), m.gotoCommand(), m.versionCommand(), m.statusCommand(), m.forceCommand())
	return parent
}

// migration holds what the subcommands have in common.
type migration struct {
	settings      *settings
	shard         string
	dryRun        bool
	allowDataLoss bool
}

// flags adds what a command that writes can be told.
func (m *migration) flags(c *cobra.Command) {
	c.Flags().BoolVar(&m.dryRun, "dry-run", false, "print the statements that would run, and write nothing")
	c.Flags().BoolVar(&m.allowDataLoss, "allow-data-loss", false, "run migrations that destroy data")
}

func (m *migration) upCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "up",
		Short: "Bring every shard to the latest version",
		Long: `Brings every shard to the latest version that this program knows. Then a new shard is given
the partitions that the topology gives it, and an old one is checked for having them.`,
		Example: `  quipu migrate up
  quipu migrate up --shard s2 --dry-run`,
		Args: noArguments,
		RunE: m.settings.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return m.move(c, cfg, migrations.Latest())
		}),
	}
	m.flags(c)
	return c
}

func (m *migration) gotoCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "goto VERSION",
		Short: "Bring every shard to a version",
		Long:  `Brings every shard up or down to a version; 0 is the empty schema.`,
		Example: `  quipu migrate goto 4
  quipu migrate goto 3 --dry-run`,
		Args: oneArgument("VERSION"),
		RunE: m.settings.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			version, err := parseVersion(args[0])
			if err != nil {
				return err
			}
			return m.move(c, cfg, version)
		}),
	}
	m.flags(c)
	return c
}

func (m *migration) downCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "down N",
		Short: "Take every shard N versions back",
		Long: `Takes every shard N versions back, counted from its own. Most steps back destroy data and
run with --allow-data-loss only. 'quipu migrate goto VERSION --dry-run' shows what would
run.`,
		Example: `  quipu migrate down 1
  quipu migrate down 1 --shard s2 --allow-data-loss`,
		Args: oneArgument("N"),
		RunE: m.settings.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			n, err := parseVersion(args[0])
			if err != nil || n == 0 {
				return usagef("how many versions to go back must be a whole number from 1 on, is %q", args[0])
			}
			return m.with(c, cfg, func(ctx context.Context, f *fleet) error { return tellDataLoss(f.runner.Down(ctx, int(n))) })
		}),
	}
	c.Flags().BoolVar(&m.allowDataLoss, "allow-data-loss", false, "run migrations that destroy data")
	return c
}

func (m *migration) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version that every shard has",
		Long: `Prints the version of the schema that every shard has, and fails if they differ, or if a
migration stopped half way on one of them. 'quipu migrate status' shows each shard.`,
		Example: `  quipu migrate version`,
		Args:    noArguments,
		RunE: m.settings.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return m.with(c, cfg, func(ctx context.Context, f *fleet) error {
				version, err := f.runner.Version(ctx)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), version)
				return err
			})
		}),
	}
}

func (m *migration) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the schema and its history on every shard",
		Long: `Shows for every shard the version of its schema, whether a migration is running or stopped
half way, and the last migrations that ran. It fails if a shard could not be asked, or is
not at the latest version.`,
		Example: `  quipu migrate status`,
		Args:    noArguments,
		RunE: m.settings.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return m.with(c, cfg, func(ctx context.Context, f *fleet) error {
				return printStatus(c.OutOrStdout(), f.runner.Status(ctx))
			})
		}),
	}
}

func (m *migration) forceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "force VERSION --shard SHARD",
		Short: "Say which version a shard really has, after a repair by hand",
		Long: `Records that a shard has a version, and runs nothing. It is the way out after a migration
that stopped half way: 'quipu migrate status' names the statement that it stopped at; either
undo what was done before it, or carry out it and the rest by hand, and then force the
version that the shard has.`,
		Example: `  quipu migrate force --shard s1 3`,
		Args:    oneArgument("VERSION"),
		RunE: m.settings.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			version, err := parseVersion(args[0])
			if err != nil {
				return err
			}
			if m.shard == "" {
				return usagef("flag --shard is needed: what was repaired by hand is one shard")
			}
			return m.with(c, cfg, func(ctx context.Context, f *fleet) error {
				if err := f.runner.Force(ctx, version); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "shard %s: version %d is on record; nothing was run\n", m.shard, version)
				return err
			})
		}),
	}
}

func parseVersion(text string) (uint, error) {
	version, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, usagef("a version must be a whole number, is %q", text)
	}
	return uint(version), nil
}

// move brings the shards to a version and, if roles can work with that one, makes sure that they own their partitions.
func (m *migration) move(c *cobra.Command, cfg *config.Effective, version uint) error {
	return m.with(c, cfg, func(ctx context.Context, f *fleet) error {
		if m.dryRun {
			return printPlan(ctx, c.OutOrStdout(), f.runner, version)
		}
		if err := f.runner.Goto(ctx, version); err != nil {
			return tellDataLoss(err)
		}
		if migrations.Known(version, false) != nil {
			return nil
		}
		return f.ensureOwnership(ctx)
	})
}

// tellDataLoss names the way to what was refused.
func tellDataLoss(err error) error {
	if errors.Is(err, migrations.ErrDataLoss) {
		return fmt.Errorf("%w; with --allow-data-loss it runs", err)
	}
	return err
}

func printPlan(ctx context.Context, out io.Writer, runner *migrations.Runner, version uint) error {
	steps, err := runner.Plan(ctx, version)
	if err != nil {
		return err
	}
	if len(steps) == 0 {
		_, err := fmt.Fprintln(out, "nothing to do")
		return err
	}
	for _, step := range steps {
		warning := ""
		if step.DestroysData {
			warning = " (destroys data)"
		}
		fmt.Fprintf(out, "-- shard %s: %s%s\n", step.Shard, step.File, warning)
		for _, statement := range step.Statements {
			if _, err := fmt.Fprintf(out, "%s;\n", statement); err != nil {
				return err
			}
		}
	}
	return nil
}

func printStatus(out io.Writer, all []migrations.Status) error {
	var bad []string
	for _, s := range all {
		fmt.Fprintf(out, "shard %s: version %d of %d%s\n", s.Shard, s.Version, s.Latest, stateOf(s))
		if s.Err != nil || s.Dirty != nil || s.Version != s.Latest {
			bad = append(bad, s.Shard)
		}
		for _, e := range slices.Backward(s.History) {
			what := e.File
			if what == "" {
				what = fmt.Sprintf("version %d", e.Version)
			}
			fmt.Fprintf(out, "  %s  %-7s %s", e.StartedAt, e.State, what)
			if e.State != "done" && e.Statements > 0 {
				fmt.Fprintf(out, ", statement %d of %d", e.Statement, e.Statements)
				if e.Error != "" {
					fmt.Fprintf(out, ": %s", e.Error)
				}
			}
			fmt.Fprintln(out)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("not at the latest version: %v", bad)
	}
	return nil
}

func stateOf(s migrations.Status) string {
	switch {
	case s.Err != nil:
		return ", could not be asked: " + s.Err.Error()
	case s.Running:
		return ", a migration is running"
	case s.Dirty != nil:
		return ", HALF DONE:\n" + s.Dirty.Error()
	case s.Version < s.Latest:
		return ", run quipu migrate up"
	}
	return ""
}
