package local_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

const patience = 30 * time.Second

// shell runs a script as a child that dies with the test.
func shell(t *testing.T, script string) *local.Process {
	t.Helper()
	dir := t.TempDir()
	p, err := local.StartProcess(local.Command{
		Name: "shell", Path: "/bin/sh", Args: []string{"-c", script},
		LogFile: filepath.Join(dir, "log"), PIDFile: filepath.Join(dir, "process"), DieWithParent: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func awaitLog(t *testing.T, p *local.Process, want string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := p.LogTail(10); !strings.Contains(got, want) {
			return fmt.Errorf("the log is %q, want %q in it", got, want)
		}
		return nil
	})
}

func TestProcessStops(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, script string
		pause        bool
		deadline     time.Duration
		want         error
	}{
		{name: "at the request", script: "echo up; exec sleep 600", deadline: patience},
		{name: "with a status of its own", script: "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done", deadline: patience},
		{name: "although paused", script: "echo up; exec sleep 600", pause: true, deadline: patience},
		{name: "by force", script: "trap '' TERM; echo up; while :; do sleep 0.01; done", deadline: 50 * time.Millisecond, want: local.ErrKilled},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := shell(t, test.script)
			awaitLog(t, p, "up")
			if test.pause {
				if err := p.Pause(); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), test.deadline)
			defer cancel()
			if err := p.Stop(ctx); !errors.Is(err, test.want) {
				t.Errorf("Stop = %v, want %v", err, test.want)
			}
			select {
			case <-p.Done():
			default:
				t.Error("the process is not done after Stop")
			}
			if err := p.Stop(ctx); err != nil {
				t.Errorf("the second Stop = %v, want nil", err)
			}
		})
	}
}

func TestProcessTellsHowItEnded(t *testing.T) {
	t.Parallel()
	p := shell(t, "exit 3")
	<-p.Done()
	var exit *exec.ExitError
	if err := p.Err(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("Err = %v, want exit status 3", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("Kill of an ended process = %v, want nil", err)
	}
}

func TestProcessMissesTheTerminal(t *testing.T) {
	t.Parallel()
	p := shell(t, "exec sleep 600")
	group, err := syscall.Getpgid(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	if group != p.PID() {
		t.Errorf("the process is in group %d, want its own, %d", group, p.PID())
	}
}

func TestPauseFreezes(t *testing.T) {
	t.Parallel()
	p := shell(t, "echo up; exec sleep 600")
	awaitLog(t, p, "up")
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"pause", p.Pause, "T"},
		{"resume", p.Resume, "S"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, patience, func() error {
			if got := processState(t, p.PID()); got != step.want {
				return fmt.Errorf("after %s the state is %s, want %s", step.name, got, step.want)
			}
			return nil
		})
	}
}

// processState is a process's state letter, "Z" too when it is gone for good.
func processState(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) {
		return "Z"
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[0]
}

func TestStartProcessNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	_, err := local.StartProcess(local.Command{
		Name: "nothing", Path: "/nonexistent/program", LogFile: filepath.Join(t.TempDir(), "log"),
	})
	if err == nil || !strings.Contains(err.Error(), "start nothing") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v, want one that names the process and the cause", err)
	}
}

func TestLogIsPutAsideWhenLong(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "logs", "log")
	start := func(script string) {
		t.Helper()
		p, err := local.StartProcess(local.Command{Name: "shell", Path: "/bin/sh", Args: []string{"-c", script}, LogFile: log, DieWithParent: true})
		if err != nil {
			t.Fatal(err)
		}
		<-p.Done()
	}
	start("echo one")
	start("echo two; head -c 17000000 /dev/zero | tr '\\0' '\\n'")
	if got, want := firstLines(t, log, 2), "one\ntwo\n"; got != want {
		t.Errorf("the log begins %q, want %q", got, want)
	}
	start("echo three")
	if got, want := local.LogTail(log, 5), "three"; got != want {
		t.Errorf("the new log is %q, want %q", got, want)
	}
	if got, want := firstLines(t, log+".1", 1), "one\n"; got != want {
		t.Errorf("the old log begins %q, want %q", got, want)
	}
}

func firstLines(t *testing.T, path string, n int) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.SplitAfterN(string(content), "\n", n+1)[:n], "")
}
