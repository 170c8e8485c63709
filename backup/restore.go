package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/deploy/local"
)

// ErrNotEmpty says that there is something where a backup shall go.
var ErrNotEmpty = errors.New("the folder is not empty")

// RestoreConfig says what is made of a backup.
type RestoreConfig struct {
	Store  Store
	Backup *Stored
	// Into is the data folder that is made; it must be empty or missing.
	Into string
	// Term is what the shard's term becomes. It must be larger than any that the shard ever had, and the same for all its databases.
	Term   uint64
	Logger *slog.Logger
}

// Restored is what a data folder was made of.
type Restored struct {
	Position    string // GTID: where replication goes on
	Term        uint64
	Checkpoints []Checkpoint // from where on the writers replay the log
}

// Restore makes a data folder, ready for a server to start on.
func Restore(ctx context.Context, cfg RestoreConfig) (*Restored, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Backup.Description == nil {
		return nil, fmt.Errorf("backup %s is incomplete: %w", cfg.Backup.Name, ErrNone)
	}
	into, err := filepath.Abs(cfg.Into)
	if err != nil {
		return nil, err
	}
	cfg.Into = into
	if err := checkEmpty(into); err != nil {
		return nil, err
	}
	// A folder that was interrupted must not pass for one that is whole.
	unfinished := into + ".unfinished"
	if err := errors.Join(os.RemoveAll(unfinished), os.MkdirAll(unfinished, 0o700)); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	restored, err := cfg.fill(ctx, unfinished)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("restore backup %s: %w", cfg.Backup.Name, err), os.RemoveAll(unfinished))
	}
	if err := errors.Join(os.RemoveAll(into), os.Rename(unfinished, into)); err != nil {
		return nil, fmt.Errorf("name the restored data folder: %w", err)
	}
	return restored, nil
}

func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = ErrNotEmpty
	}
	if err != nil {
		return fmt.Errorf("restore into %s: %w", dir, err)
	}
	return nil
}

func (cfg *RestoreConfig) fill(ctx context.Context, dir string) (*Restored, error) {
	if err := cfg.unpack(ctx, dir); err != nil {
		return nil, err
	}
	cfg.Logger.Info("unpacked", "backup", cfg.Backup.Name, "folder", dir)
	if err := prepare(ctx, dir); err != nil {
		return nil, err
	}
	restored, err := cfg.settle(ctx, dir)
	if err != nil {
		return nil, err
	}
	return restored, handOver(dir)
}

// unpack downloads, compares, decompresses and extracts, all at once.
func (cfg *RestoreConfig) unpack(ctx context.Context, dir string) error {
	program, err := local.FindProgram("mbstream")
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	read, write := io.Pipe()
	group.Go(func() error {
		err := download(ctx, cfg.Store, cfg.Backup.Description.Parts, write)
		write.CloseWithError(err) // io.EOF if nil
		return err
	})
	group.Go(func() error {
		err := extract(ctx, program, dir, read)
		read.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		return err
	})
	return group.Wait()
}

// download writes the parts one after another; one that is not what was uploaded is blob.ErrDamaged.
func download(ctx context.Context, store Store, parts []Part, to io.Writer) error {
	for _, p := range parts {
		got, err := store.Download(ctx, p.Name, to)
		if err != nil {
			return err
		}
		if got.Bytes != p.Bytes || got.SHA256 != p.SHA256 {
			return fmt.Errorf("%s: %w: it has %d bytes with SHA-256 %s, want %d with %s", p.Name, blob.ErrDamaged, got.Bytes, got.SHA256, p.Bytes, p.SHA256)
		}
	}
	return nil
}

func extract(ctx context.Context, program, dir string, from io.Reader) error {
	stream, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer stream.Close()
	log := &tail{}
	command := exec.CommandContext(ctx, program, "-x", "-C", dir)
	command.Stdin, command.Stderr = stream, log
	if err := command.Run(); err != nil {
		return fmt.Errorf("extract with mbstream: %w\n%s", err, log)
	}
	// mbstream ends at the end of what it knows: nothing may follow.
	if n, err := io.Copy(io.Discard, stream); err != nil || n > 0 {
		return fmt.Errorf("extract with mbstream: %d bytes are left: %w", n, errors.Join(err, blob.ErrDamaged))
	}
	return nil
}

// prepare makes the files those of one instant.
func prepare(ctx context.Context, dir string) error {
	program, err := local.FindProgram("mariadb-backup")
	if err != nil {
		return err
	}
	log := &tail{}
	command := exec.CommandContext(ctx, program, "--no-defaults", "--prepare", "--target-dir="+dir)
	command.Stderr = log
	if err := command.Run(); err != nil {
		return fmt.Errorf("prepare with mariadb-backup: %w\n%s", err, log)
	}
	return nil
}

// handOver gives everything to the owner of the folder above, if that may be done: the server's user.
func handOver(dir string) error {
	above, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return err
	}
	owner, ok := above.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || owner.Uid == 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}

// Verify downloads a backup and compares every part, and that together they are one whole stream.
func Verify(ctx context.Context, store Store, s *Stored) error {
	if s.Description == nil {
		return fmt.Errorf("backup %s is incomplete: %w", s.Name, ErrNone)
	}
	group, ctx := errgroup.WithContext(ctx)
	read, write := io.Pipe()
	group.Go(func() error {
		err := download(ctx, store, s.Description.Parts, write)
		write.CloseWithError(err)
		return err
	})
	group.Go(func() error {
		err := measure(read, s.Description.Bytes)
		read.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		return err
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("verify backup %s: %w", s.Name, err)
	}
	return nil
}

func measure(from io.Reader, want int64) error {
	stream, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer stream.Close()
	n, err := io.Copy(io.Discard, stream)
	if err != nil {
		return err
	}
	if n != want {
		return fmt.Errorf("%w: it unpacks to %d bytes, not %d", blob.ErrDamaged, n, want)
	}
	return nil
}
