package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
)

// ErrKilled says that a process did not stop in time and was killed.
var ErrKilled = errors.New("did not stop in time and was killed")

// Command describes a child process.
type Command struct {
	// Name is what errors call the process.
	Name string
	// Path is the program, Args its arguments without the program's name.
	Path string
	Args []string
	// Env is the whole environment; nil means that of this process.
	Env []string
	// Dir is the working folder; empty means that of this process.
	Dir string
	// LogFile gets standard output and standard error, appended.
	LogFile string
	// PIDFile names the running process for StopLeftover. Empty: none is written.
	PIDFile string
	// DieWithParent has the kernel kill the child when this process dies,
	// however it dies. For tests; Linux only, ignored elsewhere.
	DieWithParent bool
}

// Process is a running child in a process group of its own, so that a terminal's
// Ctrl-C reaches the launcher only. It is reaped when it ends.
type Process struct {
	command Command
	cmd     *exec.Cmd
	done    chan struct{}
	err     error // how it ended; set before done is closed
}

// StartProcess starts a child. It does not wait until the child is of any use.
func StartProcess(c Command) (*Process, error) {
	log, err := openLog(c.LogFile)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer log.Close() // the child has its own descriptor

	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Dir = c.environment(), c.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = processAttributes(c.DieWithParent)

	p := &Process{command: c, cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	if err := p.writePIDFile(); err != nil {
		_ = p.Kill()
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	return p, nil
}

// environment is that of the child; the last of two equal names counts.
func (c Command) environment() []string {
	environment := c.Env
	if environment == nil {
		environment = os.Environ()
	}
	if c.PIDFile == "" {
		return environment
	}
	return append(slices.Clone(environment), pidFileVariable+"="+absolute(c.PIDFile))
}

// run starts the child and reaps it. The kernel sends the parent-death signal
// when the thread that forked ends, not the process: keeping that thread in this
// goroutine until the child has ended makes the two the same.
func (p *Process) run(started chan<- error) {
	if p.command.DieWithParent {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	p.err = p.cmd.Wait()
	close(p.done)
}

// Name is the command's name.
func (p *Process) Name() string { return p.command.Name }

// PID is the process's number; it may be another's once Done is closed.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// LogFile is where the process writes.
func (p *Process) LogFile() string { return p.command.LogFile }

// Done is closed when the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended: nil for exit status 0. Only after Done.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop asks the process to end and waits until it has. When ctx is done first
// the process is killed and the error is ErrKilled. Any exit status after the
// request is fine. Stopping what has ended already is no error.
func (p *Process) Stop(ctx context.Context) error {
	defer p.removePIDFile()
	if err := p.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.Name(), err)
	}
	// A paused process takes no signal before it continues.
	if err := p.signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("stop %s: %w", p.Name(), err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	if ended(p) {
		return nil
	}
	if err := p.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("stop %s: %w", p.Name(), ErrKilled)
}

// Kill ends the process at once, as kill -9 does, and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", p.Name(), err)
	}
	<-p.done
	p.removePIDFile()
	return nil
}

// Pause freezes the process as a machine that hangs would, and waits until none of its threads runs; Resume wakes it.
func (p *Process) Pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("pause %s: %w", p.Name(), err)
	}
	if err := awaitStopped(p.PID()); err != nil {
		return fmt.Errorf("pause %s: %w", p.Name(), err)
	}
	return nil
}

// Resume continues a paused process.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// LogTail is the end of the process's log.
func (p *Process) LogTail(lines int) string { return LogTail(p.command.LogFile, lines) }

func (p *Process) signal(s syscall.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (p *Process) writePIDFile() error {
	if p.command.PIDFile == "" {
		return nil
	}
	id, err := identify(p.PID())
	if errors.Is(err, errNoProcess) {
		return nil // ended already; Done tells
	}
	if err != nil {
		return err
	}
	return writeFileAtomically(p.command.PIDFile, []byte(id.String()+"\n"), 0o644)
}

func (p *Process) removePIDFile() {
	if p.command.PIDFile != "" {
		_ = os.Remove(p.command.PIDFile)
	}
}

// writeFileAtomically replaces a file so that a reader sees the old or the new
// content and nothing between.
func writeFileAtomically(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
