package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var errNoProcess = errors.New("no such process")

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

// identify reads what is running under a pid now. A zombie counts as gone.
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
	if fields[0] == "Z" || fields[0] == "X" {
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

// LeftoverPID is the pid of the process that a pid file names, if exactly that
// process is still running, and 0 otherwise.
func LeftoverPID(pidFile string) (int, error) {
	id, ok, err := readPIDFile(pidFile)
	if err != nil || !ok {
		return 0, err
	}
	now, err := identify(id.pid)
	if errors.Is(err, errNoProcess) || (err == nil && now != id) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return id.pid, nil
}

// StopLeftover stops the process that a pid file names, if exactly that process
// is still running, and removes the file. It asks first and kills when ctx is
// done. It reports whether there was one. Only whoever holds the folder's lock
// (LockDir) may call it, else it stops a live launcher's processes.
func StopLeftover(ctx context.Context, pidFile string) (bool, error) {
	pid, err := LeftoverPID(pidFile)
	if err != nil {
		return false, fmt.Errorf("stop left-over process: %w", err)
	}
	if pid == 0 {
		_ = os.Remove(pidFile)
		return false, nil
	}
	// On Linux the handle names the process itself. Asking again after it was
	// opened closes the gap in which the pid could have been given away.
	process, err := os.FindProcess(pid)
	if err != nil {
		return false, fmt.Errorf("stop left-over process %d: %w", pid, err)
	}
	defer func() { _ = process.Release() }()
	if again, err := LeftoverPID(pidFile); err != nil || again != pid {
		return false, err
	}
	if err := endProcess(ctx, process, pidFile); err != nil {
		return true, fmt.Errorf("stop left-over process %d: %w", pid, err)
	}
	_ = os.Remove(pidFile)
	return true, nil
}

func endProcess(ctx context.Context, process *os.Process, pidFile string) error {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	if awaitGone(ctx, pidFile) == nil {
		return nil
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), killGrace)
	defer cancel()
	return awaitGone(grace, pidFile)
}

func awaitGone(ctx context.Context, pidFile string) error {
	return poll(ctx, leftoverPoll, func(context.Context) error {
		pid, err := LeftoverPID(pidFile)
		if err == nil && pid != 0 {
			err = fmt.Errorf("process %d is still running", pid)
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
