package local

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func processAttributes(dieWithParent bool) *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if dieWithParent {
		attributes.Pdeathsig = syscall.SIGKILL
	}
	return attributes
}

// A busy machine stops a process soon after the signal, not at once: whichever thread takes the signal has to be scheduled first.
const (
	stopPatience = 10 * time.Second
	stopLook     = time.Millisecond
)

// awaitStopped waits until no thread of a child runs any more, or until there is no such child.
func awaitStopped(pid int) error {
	look, late := time.NewTicker(stopLook), time.After(stopPatience)
	defer look.Stop()
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOWAIT|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.ECHILD), err == nil && info.Signo != 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("await the stop of process %d: %w", pid, err)
		}
		select {
		case <-look.C:
		case <-late:
			return fmt.Errorf("process %d has not stopped within %v", pid, stopPatience)
		}
	}
}
