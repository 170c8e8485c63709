package local_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
)

// This test program also plays the quipu program, so that the launcher is tested
// without the roles: a role listens where its configuration says and is ready, a
// command says that it is done.

var playedRoles = []string{"reader", "writer", "ingest", "cluster-proxy", "shard-proxy", "rollup", "failover"}

func playsProgram(args []string) bool {
	return len(args) > 0 && slices.Contains(append([]string{"cluster", "migrate", "event-type"}, playedRoles...), args[0])
}

// play is the program. A file beside a role's configuration changes its behaviour:
// "fails" ends it at once, "unready" keeps it from becoming ready.
func play(args []string) int {
	if len(args) > 1 && args[1] == "show" {
		fmt.Println("{}")
		return 0
	}
	if !slices.Contains(playedRoles, args[0]) {
		fmt.Println("done:", args)
		return 0
	}
	file := args[slices.Index(args, "--config")+1]
	content, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(file), "fails")); err == nil {
		fmt.Fprintln(os.Stderr, "told to fail")
		return 3
	}
	listen := regexp.MustCompile(`listen: "(.*)"`).FindSubmatch(content)
	if listen == nil {
		fmt.Fprintln(os.Stderr, "no address in", file)
		return 1
	}
	return serve(string(listen[1]), filepath.Dir(file))
}

func serve(address, dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat(filepath.Join(dir, "unready")); err == nil {
			http.Error(w, "told to be unready", http.StatusServiceUnavailable)
		}
	})}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Println("serving on", address, os.Args)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
