package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var errNoProcess = errors.New("no such process")

// pidFileVariable tells a child of its pid file. Nobody reads it there but this
// package, from outside: it is none of the settings that start with QUIPU_.
const pidFileVariable = "PID_FILE_OF_QUIPU"

// pidFileName is what every server and role calls its pid file.
const pidFileName = "process"

const (
	leftoverPoll = 20 * time.Millisecond
	// killGrace is how long a killed process may take to vanish: a database's
	// memory and open I/O are given back before it does.
	killGrace = 10 * time.Second
)

// identity names one process for all time: pids come round again, and start
// times too after a reboot.
type identity struct {
	pid   int
	start uint64 // clock ticks since boot
	boot  string
}

func (id identity) String() string {
	return fmt.Sprintf("%d %d %s", id.pid, id.start, id.boot)
}

// identify reads what is running under a pid now. A zombie counts as gone, unless
// it is only the first thread of a process whose others still run.
func identify(pid int) (identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return identity{}, errNoProcess
	}
	if err != nil {
		return identity{}, fmt.Errorf("identify process: %w", err)
	}
	// pid (name) state …: the name may hold blanks and parentheses itself.
	end := strings.LastIndexByte(string(stat), ')')
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 20 {
		return identity{}, fmt.Errorf("identify process: /proc/%d/stat has %d fields", pid, len(fields))
	}
	if threads := fields[17]; fields[0] == "X" || fields[0] == "Z" && (threads == "0" || threads == "1") {
		return identity{}, errNoProcess
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return identity{}, fmt.Errorf("identify process: start time: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, fmt.Errorf("identify process: %w", err)
	}
	return identity{pid: pid, start: start, boot: strings.TrimSpace(string(boot))}, nil
}

// readPIDFile reads what writePIDFile wrote; anything else is not an identity.
func readPIDFile(path string) (identity, bool, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, false, nil
	}
	if err != nil {
		return identity{}, false, fmt.Errorf("read pid file: %w", err)
	}
	var id identity
	if _, err := fmt.Sscanf(string(content), "%d %d %s", &id.pid, &id.start, &id.boot); err != nil {
		return identity{}, false, nil
	}
	return id, id.pid > 1, nil
}

// leftover is the process that was started with a pid file and still runs: the one
// that the file names, or, if its launcher was killed before it wrote the file,
// the one that carries the file's name in its environment.
func leftover(pidFile string) (identity, bool, error) {
	id, ok, err := readPIDFile(pidFile)
	if err != nil {
		return identity{}, false, err
	}
	if ok {
		running, err := id.running()
		if err != nil || running {
			return id, running, err
		}
	}
	return findByEnvironment(pidFileVariable + "=" + absolute(pidFile))
}

func (id identity) running() (bool, error) {
	now, err := identify(id.pid)
	if errors.Is(err, errNoProcess) {
		return false, nil
	}
	return now == id, err
}

// findByEnvironment looks for a process that was started with a variable. What
// may not be looked at belongs to others.
func findByEnvironment(setting string) (identity, bool, error) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return identity{}, false, fmt.Errorf("look for process: %w", err)
	}
	for _, file := range files {
		environment, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(environment), "\x00"), setting) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		if id, err := identify(pid); err == nil {
			return id, true, nil
		}
	}
	return identity{}, false, nil
}

// LeftoverPID is the pid of the process that was started with a pid file, if
// exactly that process is still running, and 0 otherwise.
func LeftoverPID(pidFile string) (int, error) {
	id, ok, err := leftover(pidFile)
	if err != nil || !ok {
		return 0, err
	}
	return id.pid, nil
}

// StopLeftover stops the process that was started with a pid file, if exactly
// that process is still running, and removes the file. It asks first and kills
// when ctx is done. It reports whether there was one. Only whoever holds the
// folder's lock (LockDir) may call it, else it stops a live launcher's processes.
func StopLeftover(ctx context.Context, pidFile string) (bool, error) {
	id, ok, err := leftover(pidFile)
	if err != nil {
		return false, fmt.Errorf("stop left-over process: %w", err)
	}
	if ok {
		if err := id.end(ctx); err != nil {
			return true, fmt.Errorf("stop left-over process %d: %w", id.pid, err)
		}
	}
	_ = os.Remove(pidFile)
	return ok, nil
}

// end stops the process and waits until it is gone.
func (id identity) end(ctx context.Context) error {
	// On Linux the handle names the process itself. Asking again after it was
	// opened closes the gap in which the pid could have been given away.
	process, err := os.FindProcess(id.pid)
	if err != nil {
		return err
	}
	defer func() { _ = process.Release() }()
	if running, err := id.running(); err != nil || !running {
		return err
	}
	// A paused process takes no request before it continues.
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	if id.awaitGone(ctx) == nil {
		return nil
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), killGrace)
	defer cancel()
	return id.awaitGone(grace)
}

func (id identity) awaitGone(ctx context.Context) error {
	return poll(ctx, leftoverPoll, func(context.Context) error {
		running, err := id.running()
		if err == nil && running {
			err = errors.New("it is still running")
		}
		return err
	})
}

// poll tries until try succeeds or ctx is done; the error holds both.
func poll(ctx context.Context, every time.Duration, try func(context.Context) error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-ticker.C:
		}
	}
}
