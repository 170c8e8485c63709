package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxStatement bounds what is gathered before a semicolon.
const maxStatement = 64 << 10

// gathering puts lines together until a statement is whole.
type gathering struct{ text strings.Builder }

// add takes a line and returns the statement that it ends, if it does. A line that begins with a backslash, where none is begun, is one by itself.
func (g *gathering) add(line string) (statement string, whole bool) {
	trimmed := strings.TrimSpace(line)
	if g.text.Len() == 0 && (trimmed == "" || strings.HasPrefix(trimmed, `\`)) {
		return trimmed, trimmed != ""
	}
	if g.text.Len() > 0 {
		g.text.WriteByte('\n')
	}
	g.text.WriteString(line)
	if g.text.Len() < maxStatement && !strings.HasSuffix(trimmed, ";") {
		return "", false
	}
	return g.rest(), true
}

// rest returns what has no semicolon yet.
func (g *gathering) rest() string {
	defer g.text.Reset()
	return strings.TrimSuffix(strings.TrimSpace(g.text.String()), ";")
}

// do runs a statement or a command.
func (q *sqlClient) do(ctx context.Context, statement string) (leave bool, err error) {
	if strings.HasPrefix(statement, `\`) {
		return q.command(ctx, statement)
	}
	return false, q.run(ctx, statement)
}

// fromInput runs what comes until it ends, or something fails.
func (q *sqlClient) fromInput(c *cobra.Command) error {
	lines := bufio.NewScanner(c.InOrStdin())
	lines.Buffer(nil, maxStatement)
	var g gathering
	for lines.Scan() {
		statement, whole := g.add(lines.Text())
		if !whole {
			continue
		}
		if leave, err := q.do(c.Context(), statement); leave || err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read statements: %w", err)
	}
	if rest := g.rest(); rest != "" {
		_, err := q.do(c.Context(), rest)
		return err
	}
	return nil
}

// atTerminal runs what a person types, and goes on after errors. While a line is edited the terminal is in raw mode: it is put back for every
// statement, so that Ctrl-C is a signal then.
func (q *sqlClient) atTerminal(c *cobra.Command, in *os.File) error {
	edited := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, c.OutOrStdout()}, "")
	var g gathering
	for {
		line, err := q.readLine(edited, in, g.text.Len() > 0)
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(c.OutOrStdout())
			return nil
		}
		if err != nil {
			return fmt.Errorf("read line: %w", err)
		}
		statement, whole := g.add(line)
		if !whole {
			continue
		}
		leave := false
		err = q.interruptible(c.Context(), func(ctx context.Context) (err error) {
			leave, err = q.do(ctx, statement)
			return err
		})
		if err != nil {
			fmt.Fprintln(c.ErrOrStderr(), oneLine(err))
		}
		if leave {
			return nil
		}
	}
}

func (q *sqlClient) readLine(edited *term.Terminal, in *os.File, more bool) (line string, err error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, term.Restore(int(in.Fd()), before)) }()
	if width, height, err := term.GetSize(int(in.Fd())); err == nil && width > 0 {
		_ = edited.SetSize(width, height) // else lines wrap as on the terminal that it was
	}
	prompt := "quipu> "
	switch {
	case more:
		prompt = "    -> "
	case q.shard != "":
		prompt = "quipu " + q.shard + "> "
	}
	edited.SetPrompt(prompt)
	return edited.ReadLine()
}
