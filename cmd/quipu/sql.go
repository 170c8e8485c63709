package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/wire"
)

// sqlFormats are those of POST /v1/sql.
var sqlFormats = []string{"table", "csv", "ndjson"}

// sqlClient runs statements and shows what they give.
type sqlClient struct {
	client *wire.Client
	base   string
	out    io.Writer

	shard   string
	format  string
	maxRows int
}

func newSQLCommand(s *settings) *cobra.Command {
	var door frontDoor
	var statement string
	sql := &sqlClient{}
	c := &cobra.Command{
		Use:   "sql",
		Short: "Ask the replicas in SQL",
		Long: `Runs SELECTs on the replicas of one shard (--shard), or of each, one after the other, with a
first column that says which. Nothing is added up over shards: each has the counts of its own
keys. What may be read are the views for analysts; \d lists them.

With -e it runs one statement. Otherwise it reads statements that end in ; from the standard
input: at a terminal with editing of lines and their history (arrow keys), else as they come,
and then the first one that fails ends it. Ctrl-C ends the statement that runs, in the
database too; at the prompt it leaves, like Ctrl-D.

  \d           lists the views               \d NAME   lists the columns of one
  \s [SHARD]   asks this shard from now on, or all
  \f FORMAT    table, csv or ndjson          \q        leaves

It asks a reader. The token needs the scope sql. Statements have a deadline and bounds; what
they cut off is told.`,
		Example: `  quipu sql --shard s1
  quipu sql -e "SELECT counted_key, SUM(event_count) n FROM counts_per_day GROUP BY 1 ORDER BY n DESC LIMIT 10"
  quipu sql --format csv -e 'SELECT * FROM counts_per_hour' --max-rows 1000000 > hours.csv`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			if !slices.Contains(sqlFormats, sql.format) {
				return usagef("flag --format must be %s, is %q", strings.Join(sqlFormats, ", "), sql.format)
			}
			var err error
			if sql.client, sql.base, err = door.open(s, cfg); err != nil {
				return err
			}
			defer sql.client.Close()
			sql.out = c.OutOrStdout()
			if statement != "" {
				return sql.run(c.Context(), strings.TrimSuffix(strings.TrimSpace(statement), ";"))
			}
			return sql.converse(c)
		}),
	}
	door.addTo(c, "sql")
	f := c.Flags()
	f.StringVarP(&statement, "execute", "e", "", "run one `statement` and leave")
	f.StringVar(&sql.shard, "shard", "", "ask this `shard` (default: each)")
	f.StringVar(&sql.format, "format", "table", "`format` of answers: table, csv or ndjson")
	f.IntVar(&sql.maxRows, "max-rows", 10_000, "most rows of an answer")
	return c
}

// run runs one statement. Its error is also that of an answer that was cut off.
func (q *sqlClient) run(ctx context.Context, statement string) error {
	body, _, err := q.client.Stream(ctx, http.MethodPost, q.base+"/v1/sql", map[string]any{
		"sql": statement, "shard": q.shard, "format": q.format, "max_rows": q.maxRows,
	})
	if err != nil {
		return err
	}
	defer body.Close()
	last := &lastLine{to: q.out}
	if _, err := io.Copy(last, body); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("the answer is not whole: %w", ctx.Err())
		}
		return fmt.Errorf("the answer is not whole: %w", err)
	}
	if q.format == "ndjson" && !strings.HasPrefix(string(last.line), `{"end":`) {
		return errors.New("the answer is not whole: it does not end with the record end")
	}
	return nil
}

// lastLine passes on what it is given, and remembers how the last line begins.
type lastLine struct {
	to    io.Writer
	line  []byte
	ended bool // the line that is remembered
}

func (l *lastLine) Write(p []byte) (int, error) {
	const enough = 16
	for _, c := range p {
		if l.ended {
			l.line, l.ended = l.line[:0], false
		}
		if l.ended = c == '\n'; !l.ended && len(l.line) < enough {
			l.line = append(l.line, c)
		}
	}
	return l.to.Write(p)
}

// command runs what begins with a backslash and tells whether to leave.
func (q *sqlClient) command(ctx context.Context, line string) (leave bool, err error) {
	word, rest, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(line), ";"), " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case `\q`:
		return true, nil
	case `\d`:
		return false, q.describe(ctx, rest)
	case `\s`:
		q.shard = rest
		return false, nil
	case `\f`:
		if !slices.Contains(sqlFormats, rest) {
			return false, fmt.Errorf("formats are %s", strings.Join(sqlFormats, ", "))
		}
		q.format = rest
		return false, nil
	}
	return false, fmt.Errorf(`%s is no command: there are \d [NAME], \s [SHARD], \f FORMAT and \q`, word)
}

// describe lists the views, or the columns of one.
func (q *sqlClient) describe(ctx context.Context, view string) error {
	statement := "SELECT table_name AS view FROM information_schema.tables WHERE table_schema = 'analytics' ORDER BY table_name"
	if view != "" {
		statement = "SELECT column_name AS name, column_type AS type, is_nullable AS nullable FROM information_schema.columns WHERE table_schema = 'analytics' AND table_name = " +
			quoted(view) + " ORDER BY ordinal_position"
	}
	return q.run(ctx, statement)
}

func quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

// interruptible runs one statement so that Ctrl-C ends it and nothing else.
func (q *sqlClient) interruptible(ctx context.Context, run func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt)
	defer stop()
	return run(ctx)
}

// converse reads statements until they end.
func (q *sqlClient) converse(c *cobra.Command) error {
	in, isFile := c.InOrStdin().(*os.File)
	if isFile && term.IsTerminal(int(in.Fd())) {
		return q.atTerminal(c, in)
	}
	return q.fromInput(c)
}
