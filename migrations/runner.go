package migrations

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"golang.org/x/sync/errgroup"
)

// Shard is a database to migrate: always the primary, for its replicas follow.
type Shard struct {
	ID  string
	DSN string // for go-sql-driver/mysql, of an account that owns the schema
}

// Progress tells of a statement that starts, or of a file that is done.
type Progress struct {
	Shard                 string
	Version               uint
	Direction             Direction
	File                  string
	Statement, Statements int // 1 is the first
	Done                  bool
}

// Config configures a Runner.
type Config struct {
	Shards        []Shard // in order; the first goes first
	AllowDataLoss bool    // run files that destroy data
	Parallel      int     // shards at a time after the first; 4
	// Lock takes the cluster's lock against other runs and returns what releases it. Optional.
	Lock     func(context.Context) (unlock func(), err error)
	Progress func(Progress) // called from several goroutines; optional
	Logger   *slog.Logger   // optional
	Files    fs.FS          // with a folder sql; default: those of this build
}

// Runner migrates shards.
type Runner struct {
	cfg Config
	set *set
}

// New checks the files. It does no I/O.
func New(cfg Config) (*Runner, error) {
	if cfg.Files == nil {
		cfg.Files = embedded
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 4
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Progress) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Lock == nil {
		cfg.Lock = func(context.Context) (func(), error) { return func() {}, nil }
	}
	files, err := load(cfg.Files)
	if err != nil {
		return nil, err
	}
	return &Runner{cfg: cfg, set: files}, nil
}

// Up brings every shard to the latest version.
func (r *Runner) Up(ctx context.Context) error { return r.Goto(ctx, r.set.latest()) }

// Down takes every shard n versions back, counted from each shard's own.
func (r *Runner) Down(ctx context.Context, n int) error {
	if n < 1 {
		return fmt.Errorf("go down by %d versions: %w", n, ErrUnknown)
	}
	return r.overShards(ctx, func(ctx context.Context, s *session) error {
		return r.move(ctx, s, func(current uint) uint { return r.set.before(current, n) })
	})
}

// Goto brings every shard to a version; 0 is the empty schema.
func (r *Runner) Goto(ctx context.Context, version uint) error {
	if !r.set.has(version) {
		return fmt.Errorf("go to version %d: %w: the latest is %d", version, ErrUnknown, r.set.latest())
	}
	return r.overShards(ctx, func(ctx context.Context, s *session) error {
		return r.move(ctx, s, func(uint) uint { return version })
	})
}

// Force says which version every shard really has, after a repair by hand. It runs nothing.
func (r *Runner) Force(ctx context.Context, version uint) error {
	if !r.set.has(version) {
		return fmt.Errorf("force version %d: %w: the latest is %d", version, ErrUnknown, r.set.latest())
	}
	return r.overShards(ctx, func(ctx context.Context, s *session) error {
		m, _, err := r.open(ctx, s)
		if err != nil {
			return err
		}
		forced := int(version)
		if version == 0 {
			forced = -1 // golang-migrate's word for no version
		}
		if err := m.Force(forced); err != nil {
			return fmt.Errorf("shard %s: force version %d: %w", s.shard.ID, version, err)
		}
		r.cfg.Logger.Info("forced schema version", "shard", s.shard.ID, "version", version)
		return s.history.forced(ctx, version)
	})
}

// overShards works on the first shard, and then on the others if that went well.
func (r *Runner) overShards(ctx context.Context, work func(context.Context, *session) error) error {
	unlock, err := r.cfg.Lock(ctx)
	if err != nil {
		return fmt.Errorf("lock migrations: %w", err)
	}
	defer unlock()
	if len(r.cfg.Shards) == 0 {
		return nil
	}
	if err := r.onShard(ctx, r.cfg.Shards[0], work); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Parallel)
	for _, shard := range r.cfg.Shards[1:] {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("shard %s was not started: %w", shard.ID, err)
			}
			return r.onShard(ctx, shard, work)
		})
	}
	return group.Wait()
}

func (r *Runner) onShard(ctx context.Context, shard Shard, work func(context.Context, *session) error) (err error) {
	s, err := openSession(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.lock(ctx); err != nil {
		return err
	}
	return work(ctx, s)
}

// move runs the files between a shard's version and the wanted one.
func (r *Runner) move(ctx context.Context, s *session, wanted func(current uint) uint) error {
	current, err := r.checkedVersion(ctx, s)
	if err != nil {
		return err
	}
	to := wanted(current)
	steps := r.set.path(current, to)
	for _, f := range steps {
		if f.destroysData && !r.cfg.AllowDataLoss {
			return fmt.Errorf("shard %s: migration %s: %w", s.shard.ID, f.name, ErrDataLoss)
		}
	}
	if err := r.run(ctx, s, current, steps); err != nil {
		return err
	}
	r.cfg.Logger.Info("schema is at its version", "shard", s.shard.ID, "version", to, "from", current)
	return nil
}

// run runs one file after the other, and none once ctx has ended.
func (r *Runner) run(ctx context.Context, s *session, current uint, steps []file) error {
	m, t, err := r.open(ctx, s)
	if err != nil {
		return err
	}
	t.current = current
	for _, f := range steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("shard %s: stopped cleanly at version %d: %w", s.shard.ID, t.current, err)
		}
		step := 1
		if f.direction == Down {
			step = -1
		}
		if err := m.Steps(step); err != nil {
			return fmt.Errorf("shard %s: run %s: %w", s.shard.ID, f.name, err)
		}
	}
	return nil
}

// checkedVersion refuses a shard that is dirty or newer than this build.
func (r *Runner) checkedVersion(ctx context.Context, s *session) (uint, error) {
	version, dirty, err := ReadVersion(ctx, s.conn)
	if err != nil {
		return 0, fmt.Errorf("shard %s: %w", s.shard.ID, err)
	}
	if dirty {
		return 0, r.dirtyBefore(ctx, s, version)
	}
	if !r.set.has(version) {
		return 0, fmt.Errorf("shard %s: %w", s.shard.ID, &VersionError{Version: version, Oldest: r.set.versions[0], Latest: r.set.latest()})
	}
	return version, nil
}

// open makes golang-migrate's runner. A statement that has started is not interrupted: its outcome would be unknown.
func (r *Runner) open(ctx context.Context, s *session) (*migrate.Migrate, *target, error) {
	files, err := iofs.New(r.set.fsys, folder)
	if err != nil {
		return nil, nil, fmt.Errorf("open migrations: %w", err)
	}
	t, err := newTarget(context.WithoutCancel(ctx), s, r.set, r.cfg.Progress)
	if err != nil {
		return nil, nil, err
	}
	m, err := migrate.NewWithInstance("embedded", files, "mysql", t)
	if err != nil {
		return nil, nil, fmt.Errorf("shard %s: %w", s.shard.ID, err)
	}
	return m, t, nil
}
