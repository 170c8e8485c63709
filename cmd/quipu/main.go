// Command quipu is the one program of Quipu, a sharded counting service: a subcommand for each role, for running all of them on
// one machine, and for looking after a cluster. It holds no logic of its own: it reads the configuration, wires the parts, and
// stops them in reverse order.
//
// Exit codes: 0 done; 1 failed; 2 the command line or the configuration can't be used.
//
// SIGINT and SIGTERM stop it gracefully; a second one ends it at once.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker: -ldflags '-X main.version=…'.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from the first signal on, the next one has its default effect: it ends the process
	code := execute(ctx, &process{
		args: os.Args[1:], environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
	})
	stop()
	os.Exit(code)
}

// process is what a command sees of the operating system.
type process struct {
	args    []string
	environ []string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
}
