package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/wire"
)

// watchEvery is how often --watch looks anew.
const watchEvery = time.Second

func newQueriesCommand(s *settings) *cobra.Command {
	var door frontDoor
	var watch, digests bool
	c := &cobra.Command{
		Use:   "queries",
		Short: "Show what runs in the databases, and kill it",
		Long: `Shows the statements that run in the databases of every shard by way of a shard proxy: what
for, for whom, for how long, and until when at most. With --digests what ran since each shard
proxy started, by shape: how often, how long, and how often it failed or was killed.

It asks a reader. The token needs the scope admin.`,
		Example: `  quipu queries --watch
  quipu queries --digests --reader http://10.0.0.5:8081 --token-file admin.token
  quipu queries kill s1~shard-proxy-127.0.0.1_8084~5f2a9c01-1k`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			client, base, err := door.open(s, cfg)
			if err != nil {
				return err
			}
			defer client.Close()
			show := func(ctx context.Context) error {
				return showQueries(ctx, c.OutOrStdout(), c.ErrOrStderr(), client, base, digests)
			}
			if !watch {
				return show(c.Context())
			}
			return watchQueries(c.Context(), c.OutOrStdout(), show)
		}),
	}
	door.addTo(c, "admin")
	c.Flags().BoolVar(&watch, "watch", false, "show them anew every second, until Ctrl-C")
	c.Flags().BoolVar(&digests, "digests", false, "show what ran instead of what runs")
	c.AddCommand(newQueriesKillCommand(s, &door))
	return c
}

func newQueriesKillCommand(s *settings, door *frontDoor) *cobra.Command {
	return &cobra.Command{
		Use:   "kill ID",
		Short: "Kill a statement",
		Long: `Kills a statement by its id, as 'quipu queries' shows it, and returns once it is dead. It never
kills another one: should the statement have ended meanwhile, nothing is killed. Statements
that write are not killed: their own limits end them.`,
		Example: `  quipu queries kill s1~shard-proxy-127.0.0.1_8084~5f2a9c01-1k`,
		Args:    oneArgument("ID"),
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			client, base, err := door.open(s, cfg)
			if err != nil {
				return err
			}
			defer client.Close()
			if err := client.JSON(c.Context(), http.MethodDelete, base+"/v1/queries/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "killed: %s\n", args[0])
			return err
		}),
	}
}

// watchQueries shows them until ctx ends, on a terminal each time in place of the last.
func watchQueries(ctx context.Context, out io.Writer, show func(context.Context) error) error {
	clean := "\n"
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		clean = "\x1b[H\x1b[2J"
	}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		fmt.Fprintf(out, "%s%s\n", clean, time.Now().Format(time.DateTime))
		if err := show(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func showQueries(ctx context.Context, out, errs io.Writer, client *wire.Client, base string, digests bool) error {
	var answer wire.QueriesAnswer
	if err := client.JSON(ctx, http.MethodGet, base+"/v1/queries?digests="+strconv.FormatBool(digests), nil, &answer); err != nil {
		return err
	}
	for _, m := range answer.Missing {
		fmt.Fprintf(errs, "missing: shard %s %s: %s: %s\n", m.Shard, m.Proxy, m.Code, m.Detail)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if digests {
		fmt.Fprintln(w, "DIGEST\tSHARD\tCLASS\tCOUNT\tERRORS\tKILLED\tTOTAL s\tP50 ms\tP99 ms\tMAX ms\tSTATEMENT")
		for _, d := range answer.Digests {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%.1f\t%.2f\t%.2f\t%.2f\t%s\n", d.ID, d.Shard, d.Class, d.Count, d.Errors, d.Killed,
				d.TotalSeconds, 1000*d.P50Seconds, 1000*d.P99Seconds, 1000*d.MaxSeconds, beginning(d.Text))
		}
		return w.Flush()
	}
	fmt.Fprintln(w, "ID\tDATABASE\tCLASS\tCALLER\tSECONDS\tOF\tROWS\tSTATEMENT")
	for _, q := range answer.Queries {
		rows, statement := "", beginning(q.Statement)
		if q.RowsExamined != nil {
			rows = strconv.FormatInt(*q.RowsExamined, 10)
		}
		if q.Ending != "" {
			statement = "(dies: " + q.Ending + ") " + statement
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f\t%.1f\t%s\t%s\n", q.ID, q.Database, q.Class, q.Caller, q.Seconds, q.Deadline.Sub(q.Began).Seconds(), rows, statement)
	}
	return w.Flush()
}

// shownBytes is how much of a statement fits in a line.
const shownBytes = 100

func beginning(statement string) string {
	line := strings.Join(strings.Fields(statement), " ")
	if len(line) > shownBytes {
		line = strings.ToValidUTF8(line[:shownBytes], "") + "…"
	}
	return line
}
