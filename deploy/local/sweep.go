package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// remainder is a process that a killed launcher left behind.
type remainder struct {
	identity
	pidFile string
}

// findRemainders lists the processes that were started with a pid file below a
// folder and still run, whether the file was written or not. What belongs to other
// users can't be looked at, and is not ours.
func findRemainders(dir string) ([]remainder, error) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, fmt.Errorf("look for left-over processes: %w", err)
	}
	var found []remainder
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		environment, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for variable := range strings.SplitSeq(string(environment), "\x00") {
			pidFile, ok := strings.CutPrefix(variable, pidFileVariable+"=")
			if !ok || !strings.HasPrefix(pidFile, dir+string(filepath.Separator)) {
				continue
			}
			if id, err := identify(pid); err == nil {
				found = append(found, remainder{id, pidFile})
			}
		}
	}
	return found, nil
}

// sweep stops what a killed launcher left running in the data folder.
func (c *Cluster) sweep(ctx context.Context) error {
	found, err := findRemainders(string(c.folder))
	if err != nil || len(found) == 0 {
		return err
	}
	c.say("stopping %d processes that an earlier launcher left running", len(found))
	return c.folder.end(ctx, found)
}

// StopLeftovers stops every process that a killed launcher left running in a data
// folder, in order. ErrLocked if a launcher is alive.
func StopLeftovers(ctx context.Context, dir string) (stopped int, err error) {
	dir, err = filepath.EvalSymlinks(absolute(dir))
	if err != nil {
		return 0, fmt.Errorf("stop left-over processes: %w", err)
	}
	lock, err := LockDir(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	found, err := findRemainders(dir)
	if err != nil {
		return 0, err
	}
	return len(found), folder(dir).end(ctx, found)
}

// end stops processes: who asks before who answers. Only the holder of the folder's
// lock may do so.
func (f folder) end(ctx context.Context, found []remainder) error {
	slices.SortStableFunc(found, func(a, b remainder) int { return cmp.Compare(f.rank(a.pidFile), f.rank(b.pidFile)) })
	for len(found) > 0 {
		same := 1
		for same < len(found) && f.rank(found[same].pidFile) == f.rank(found[0].pidFile) {
			same++
		}
		if err := endAll(ctx, found[:same]); err != nil {
			return err
		}
		found = found[same:]
	}
	return nil
}

func endAll(ctx context.Context, processes []remainder) error {
	ctx, cancel := context.WithTimeout(ctx, leftoverPatience)
	defer cancel()
	var group errgroup.Group
	for _, p := range processes {
		group.Go(func() error {
			if err := p.end(ctx); err != nil {
				return fmt.Errorf("stop left-over process %d: %w", p.pid, err)
			}
			_ = os.Remove(p.pidFile)
			return nil
		})
	}
	return group.Wait()
}

// rank orders processes by when they stop, from the place of their pid file.
func (f folder) rank(pidFile string) int {
	place, err := filepath.Rel(string(f), pidFile)
	if err != nil {
		return 0
	}
	first, rest, _ := strings.Cut(place, string(filepath.Separator))
	name, _, _ := strings.Cut(rest, string(filepath.Separator))
	switch first {
	case "roles":
		return stopRank(name)
	case "databases":
		return rankDatabases
	case "zookeeper":
		return rankZooKeeper
	}
	return 0
}

// The order in which processes stop.
const (
	rankFailover = iota // first: what stops is not lost
	rankReader
	rankRollup
	rankWriter
	rankIngest
	rankClusterProxy
	rankShardProxy
	rankDatabases
	rankZooKeeper
)

func stopRank(name string) int {
	switch {
	case strings.HasPrefix(name, "failover"):
		return rankFailover
	case strings.HasPrefix(name, "reader"):
		return rankReader
	case strings.HasPrefix(name, "rollup"):
		return rankRollup
	case strings.HasPrefix(name, "writer"):
		return rankWriter
	case strings.HasPrefix(name, "ingest"):
		return rankIngest
	case strings.HasPrefix(name, "cluster-proxy"):
		return rankClusterProxy
	case strings.HasPrefix(name, "shard-proxy"):
		return rankShardProxy
	}
	return rankReader
}
