package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// readyPoll is how often a role that starts is asked; it logs what it refuses.
const readyPoll = 50 * time.Millisecond

// readyAnswerLimit bounds what is read of a probe's answer.
const readyAnswerLimit = 4 << 10

// errNotReady wraps what a role says of itself before it is ready.
var errNotReady = errors.New("not ready")

// RoleConfig describes one process of a role.
type RoleConfig struct {
	// Name is what errors and logs call it: shard-proxy-s1.
	Name string
	// Program and Args are its command line.
	Program string
	Args    []string
	// Env is added to the environment, in which no QUIPU_ variable is passed on.
	Env []string
	// Dir holds its pid file.
	Dir string
	// LogFile gets what it says.
	LogFile string
	// Port is where it serves, on 127.0.0.1.
	Port int
	// DieWithParent: see Command.
	DieWithParent bool
}

// Role is one process of this cluster's own program.
type Role struct {
	config RoleConfig
	probe  *http.Client

	mu      sync.Mutex
	process *Process
}

// NewRole describes a role; Start runs it.
func NewRole(config RoleConfig) *Role {
	config.Dir = absolute(config.Dir)
	probe := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	return &Role{config: config, probe: probe}
}

// Start runs the role and returns when it is ready to work, or with an error that
// ends in the last lines of its log.
func (r *Role) Start(ctx context.Context) error {
	if err := r.Launch(ctx); err != nil {
		return err
	}
	if err := r.AwaitReady(ctx); err != nil {
		return errors.Join(err, r.Kill())
	}
	return nil
}

// Launch stops a left-over process of the role and runs it. It does not wait until it
// is ready.
func (r *Role) Launch(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.clearLocked(ctx); err != nil {
		return fmt.Errorf("start %s: %w", r.config.Name, err)
	}
	process, err := StartProcess(Command{
		Name: r.config.Name, Path: r.config.Program, Args: r.config.Args, Env: append(roleEnvironment(), r.config.Env...),
		LogFile: r.config.LogFile, PIDFile: r.pidFile(), DieWithParent: r.config.DieWithParent,
	})
	if err != nil {
		return err
	}
	r.process = process
	return nil
}

// clearLocked makes sure that nothing is in the way of a new process.
func (r *Role) clearLocked(ctx context.Context) error {
	if r.process != nil && !ended(r.process) {
		return ErrRunning
	}
	if err := os.MkdirAll(r.config.Dir, 0o700); err != nil {
		return err
	}
	if err := stopLeftoverPatiently(ctx, r.pidFile()); err != nil {
		return err
	}
	if !PortFree(r.config.Port) {
		return fmt.Errorf("%w: %d", ErrPortTaken, r.config.Port)
	}
	return nil
}

func (r *Role) pidFile() string { return filepath.Join(r.config.Dir, pidFileName) }

// roleEnvironment is ours without what would change a role's settings behind the
// launcher's back.
func roleEnvironment() []string {
	var environment []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "QUIPU_") {
			environment = append(environment, variable)
		}
	}
	return environment
}

// AwaitReady waits until the role's /readyz answers 200.
func (r *Role) AwaitReady(ctx context.Context) error {
	p := r.Process()
	if p == nil {
		return fmt.Errorf("await %s: it was never started", r.config.Name)
	}
	if err := awaitAnswer(ctx, p, readyPoll, r.ready); err != nil {
		return fmt.Errorf("await %s: %w", r.config.Name, err)
	}
	return nil
}

func (r *Role) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := r.probe.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(answer.Body, readyAnswerLimit))
	return fmt.Errorf("%w: /readyz answers %d %s", errNotReady, answer.StatusCode, strings.TrimSpace(string(body)))
}

// Stop ends the role in order and waits; see Process.Stop.
func (r *Role) Stop(ctx context.Context) error {
	if p := r.Process(); p != nil {
		return p.Stop(ctx)
	}
	return nil
}

// Kill ends the role as kill -9 does.
func (r *Role) Kill() error {
	if p := r.Process(); p != nil {
		return p.Kill()
	}
	return nil
}

// Process is the role's process since the last Launch, nil before the first.
func (r *Role) Process() *Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process
}

// Name is the configured name.
func (r *Role) Name() string { return r.config.Name }

// URL is the role's base address.
func (r *Role) URL() string { return "http://" + LoopbackAddress(r.config.Port) }

// LogFile is where the role writes.
func (r *Role) LogFile() string { return r.config.LogFile }
