package migrations

import (
	"context"
	"errors"
	"fmt"
)

// Step is a file that a run would run.
type Step struct {
	Shard        string
	File         string
	Version      uint
	Direction    Direction
	Statements   []string
	DestroysData bool
}

// Status is how far one shard is.
type Status struct {
	Shard   string
	Version uint // 0: no schema
	Latest  uint // of this build
	Running bool // a migration works on it now
	Dirty   *DirtyError
	History []Entry // the newest first
	Err     error   // why the shard could not be asked
}

// Entries of the history that Status returns.
const statusHistory = 20

// Plan lists what Goto would run, shard by shard, and writes nothing.
func (r *Runner) Plan(ctx context.Context, version uint) ([]Step, error) {
	if !r.set.has(version) {
		return nil, fmt.Errorf("plan version %d: %w: the latest is %d", version, ErrUnknown, r.set.latest())
	}
	var steps []Step
	for _, shard := range r.cfg.Shards {
		current, err := r.readOnly(ctx, shard)
		if err != nil {
			return nil, err
		}
		for _, f := range r.set.path(current, version) {
			steps = append(steps, Step{Shard: shard.ID, File: f.name, Version: f.version, Direction: f.direction, Statements: f.statements, DestroysData: f.destroysData})
		}
	}
	return steps, nil
}

// PlanUp is Plan for the latest version.
func (r *Runner) PlanUp(ctx context.Context) ([]Step, error) { return r.Plan(ctx, r.set.latest()) }

func (r *Runner) readOnly(ctx context.Context, shard Shard) (version uint, err error) {
	s, err := openSession(ctx, shard)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return r.checkedVersion(ctx, s)
}

// Status asks every shard, and says of each that could not be asked why.
func (r *Runner) Status(ctx context.Context) []Status {
	all := make([]Status, len(r.cfg.Shards))
	for i, shard := range r.cfg.Shards {
		all[i] = r.status(ctx, shard)
	}
	return all
}

func (r *Runner) status(ctx context.Context, shard Shard) Status {
	status := Status{Shard: shard.ID, Latest: r.set.latest()}
	s, err := openSession(ctx, shard)
	if err != nil {
		status.Err = err
		return status
	}
	defer func() { status.Err = errors.Join(status.Err, s.close()) }()
	version, dirty, err := ReadVersion(ctx, s.conn)
	if err != nil {
		status.Err = err
		return status
	}
	status.Version = version
	if status.Running, err = s.taken(ctx); err != nil {
		status.Err = err
		return status
	}
	if dirty && !status.Running {
		var known *DirtyError
		if err := r.dirtyBefore(ctx, s, version); errors.As(err, &known) {
			status.Dirty = known
		}
	}
	status.History, status.Err = readHistory(ctx, s.conn, statusHistory)
	return status
}

// Version returns the version that every shard has, or an error if they differ or one is dirty.
func (r *Runner) Version(ctx context.Context) (uint, error) {
	var common uint
	for i, shard := range r.cfg.Shards {
		version, err := r.readOnly(ctx, shard)
		if err != nil {
			return 0, err
		}
		if i > 0 && version != common {
			return 0, fmt.Errorf("shard %s is at schema version %d, shard %s at %d: run quipu migrate up", shard.ID, version, r.cfg.Shards[0].ID, common)
		}
		common = version
	}
	return common, nil
}

// dirtyBefore describes what an earlier run left half done, from the shard's history.
func (r *Runner) dirtyBefore(ctx context.Context, s *session, version uint) error {
	e := &DirtyError{Shard: s.shard.ID, Version: version, File: "unknown", Before: r.set.before(version, 1), After: version}
	entries, err := readHistory(ctx, s.conn, statusHistory)
	if err != nil {
		return errors.Join(e, err)
	}
	for _, entry := range entries {
		f, known := r.set.files[entry.Version][entry.Direction]
		if !known || (entry.State != stateRunning && entry.State != stateFailed) {
			continue
		}
		e.Version, e.File, e.Direction = f.version, f.name, f.direction
		e.Statement, e.Text, e.Cause = entry.Statement, entry.Text, entry.Error
		e.Before, e.After = r.set.around(f)
		break
	}
	return e
}

// around returns the versions before and after a file.
func (s *set) around(f file) (before, after uint) {
	if f.direction == Up {
		return s.before(f.version, 1), f.version
	}
	return f.version, s.before(f.version, 1)
}
