package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/migrations"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a command line that can't be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef returns a usageError.
func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// execute runs one command line and returns its exit code. An error is one line on stderr.
func execute(ctx context.Context, p *process) int {
	root := newRootCommand(p)
	root.SetArgs(p.args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	text := oneLine(err)
	if _, ok := errors.AsType[*migrations.DirtyError](err); ok {
		text = err.Error() // instructions of several lines
	}
	fmt.Fprintf(p.stderr, "%s: %s\n", command.CommandPath(), text)
	if _, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprintf(p.stderr, "Run '%s --help' for usage.\n", command.CommandPath())
		return exitUsage
	}
	if _, ok := errors.AsType[config.Errors](err); ok {
		return exitUsage
	}
	return exitFailed
}

// oneLine joins what an error says in several lines.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' })
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "; ")
}

func newRootCommand(p *process) *cobra.Command {
	root := &cobra.Command{
		Use:   "quipu",
		Short: "Count events at scale, exactly once",
		Long: `Quipu counts events at scale and never loses count. Producers say what happened; Quipu
answers, over HTTP and in plain SQL, how often it happened to any key in any stretch of
time.

A cluster is a few roles, each a process of its own: ingest takes events in, the writer
counts them, the cluster proxy and the shard proxies stand before the databases, the reader
answers, and rollup adds up what is old. 'quipu up' runs all of them on this machine.

Every setting has a default, can be set in one YAML file (--config), in the environment
(QUIPU_<SECTION>_<KEY>) and by a flag (--set section.key=value). 'quipu config print' shows
them all.

Exit codes: 0 done; 1 failed; 2 the command line or the configuration can't be used.`,
		Example: `  quipu up                                          run a whole cluster on this machine
  quipu ingest --config /etc/quipu/quipu.yaml       run one role
  quipu event-type create view --unit ms            register what is counted`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	s := newSettings(p, root.PersistentFlags())
	root.AddGroup(&cobra.Group{ID: "roles", Title: "Roles:"}, &cobra.Group{ID: "care", Title: "Looking after a cluster:"},
		&cobra.Group{ID: "data", Title: "Data:"})
	addTo(root, "roles", roleCommands(s)...)
	addTo(root, "care", newUpCommand(s), newClusterCommand(s), newMigrateCommand(s), newArchiveCommand(s), newBackupCommand(s), newReplicaCommand(s),
		newQueriesCommand(s), newTokenCommand(),
		newConfigCommand(s), newVersionCommand())
	addTo(root, "data", newEventTypeCommand(s), newKeysCommand(s), newSQLCommand(s), newLoadCommand(s))
	makeStrict(root)
	return root
}

func addTo(parent *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		parent.AddCommand(c)
	}
}

// makeStrict turns what cobra is lenient about into a usage error: a parent without its subcommand, or with one that it doesn't have.
func makeStrict(c *cobra.Command) {
	if c.HasSubCommands() && c.RunE == nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q%s", args[0], suggestion(c, args[0]))
			}
			return errors.Join(c.Help(), usagef("a command is missing"))
		}
		c.Args = cobra.ArbitraryArgs
		c.DisableFlagsInUseLine = true
	}
	for _, sub := range c.Commands() {
		makeStrict(sub)
	}
}

func suggestion(c *cobra.Command, word string) string {
	if c.SuggestionsMinimumDistance <= 0 {
		c.SuggestionsMinimumDistance = 2
	}
	if near := c.SuggestionsFor(word); len(near) > 0 {
		return "; did you mean " + near[0] + "?"
	}
	return ""
}
