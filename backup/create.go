package backup

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/deploy/local"
)

// Source is the database that a backup is taken from. mariadb-backup reads its files: they must be on this host.
type Source struct {
	ClusterID, Shard, Database string
	Address, User, Password    string
}

// CreateConfig says how a backup is made.
type CreateConfig struct {
	Store     Store
	Source    Source
	PartBytes int64 // of one object; 4 GiB
	Logger    *slog.Logger
	Now       func() time.Time // time.Now
}

func (c CreateConfig) withDefaults() CreateConfig {
	if c.PartBytes <= 0 {
		c.PartBytes = 4 << 30
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// creation is one backup under way.
type creation struct {
	CreateConfig
	program string
	scratch string // folder
	prefix  string // of the objects' names
	done    Description
}

// Create makes a backup and returns its name. One that fails leaves nothing, or at worst parts without a description, which Prune deletes
// after a day.
func Create(ctx context.Context, cfg CreateConfig) (stored *Stored, err error) {
	cfg = cfg.withDefaults()
	if err := checkShard(cfg.Source.Shard); err != nil {
		return nil, err
	}
	program, err := local.FindProgram("mariadb-backup")
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "quipu-backup-")
	if err != nil {
		return nil, fmt.Errorf("make folder for a backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	begun := cfg.Now().UTC()
	name := begun.Format("20060102T150405Z") + "-" + uuid.NewString()[:8]
	c := &creation{CreateConfig: cfg, program: program, scratch: scratch, prefix: prefixOf(cfg.Source.Shard, name)}
	c.done = Description{Format: descriptionFormat, ClusterID: cfg.Source.ClusterID, Shard: cfg.Source.Shard, Database: cfg.Source.Database, Begun: begun}
	if err := c.ask(ctx); err != nil {
		return nil, fmt.Errorf("ask database %s: %w", cfg.Source.Database, err)
	}
	if err := c.write(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("back up %s: %w", cfg.Source.Database, err), c.undo(ctx))
	}
	return &Stored{Name: name, Shard: cfg.Source.Shard, Description: &c.done}, nil
}

// ask reads what the description says, and refuses a database of something else.
func (c *creation) ask(ctx context.Context) error {
	db, err := openTCP(c.Source)
	if err != nil {
		return err
	}
	defer db.Close()
	state, err := readState(ctx, db, "quipu.")
	if err != nil {
		return err
	}
	if state.clusterID != c.Source.ClusterID || state.shard != c.Source.Shard {
		return fmt.Errorf("%w: it holds shard %s of %s, not %s of %s", ErrOther, state.shard, state.clusterID, c.Source.Shard, c.Source.ClusterID)
	}
	c.done.Term, c.done.Checkpoints = state.term, state.checkpoints
	return db.QueryRowContext(ctx, "SELECT @@version, v.version FROM quipu.schema_migrations v").Scan(&c.done.Server, &c.done.SchemaVersion)
}

// write streams the backup, and describes it last.
func (c *creation) write(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	read, write := io.Pipe()
	group.Go(func() error {
		err := c.produce(running, write)
		write.CloseWithError(err) // io.EOF if nil
		return err
	})
	group.Go(func() error {
		err := c.upload(running, read)
		read.CloseWithError(err)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	position, err := c.position()
	if err != nil {
		return err
	}
	c.done.Position, c.done.Ended = position, c.Now().UTC()
	text, err := json.MarshalIndent(&c.done, "", "  ")
	if err != nil {
		return err
	}
	_, err = c.Store.Upload(ctx, c.prefix+descriptionName, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
	return err
}

// produce runs mariadb-backup and compresses what it prints. It fails unless the program says that the backup is whole.
func (c *creation) produce(ctx context.Context, to io.Writer) error {
	settings := filepath.Join(c.scratch, "client.cnf")
	if err := os.WriteFile(settings, c.Source.clientSettings(), 0o600); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, c.program, "--defaults-file="+settings, "--backup", "--stream=xbstream", "--slave-info",
		"--open-files-limit=65535", "--extra-lsndir="+c.scratch, "--target-dir="+filepath.Join(c.scratch, "temporary"))
	log := &tail{}
	command.Stderr = log
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	compressed, err := zstd.NewWriter(to, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	c.done.Bytes, err = io.Copy(compressed, out)
	if err != nil {
		_ = command.Process.Kill()
	}
	if ended := command.Wait(); ended != nil && err == nil {
		return fmt.Errorf("mariadb-backup failed (it must run on the database's host, as a user that may read its files): %w\n%s", ended, log)
	}
	if err != nil {
		return err
	}
	return compressed.Close()
}

// upload cuts the stream into parts.
func (c *creation) upload(ctx context.Context, from io.Reader) error {
	stream := bufio.NewReaderSize(from, 1<<20)
	for n := 1; ; n++ {
		if _, err := stream.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		name := fmt.Sprintf("%spart-%04d.xb.zst", c.prefix, n)
		info, err := c.Store.Upload(ctx, name, func(w io.Writer) error {
			_, err := io.Copy(w, io.LimitReader(stream, c.PartBytes))
			return err
		})
		if err != nil {
			return err
		}
		c.done.Parts = append(c.done.Parts, Part{Name: name, Bytes: info.Bytes, SHA256: info.SHA256})
		c.Logger.Info("part of the backup stored", "name", name, "bytes", info.Bytes)
	}
}

var positionForm = regexp.MustCompile(`(?m)^binlog_pos = .*GTID of the last change '([^']*)'`)

// position is what mariadb-backup says of the binary log at the backup's end. It may be empty: nothing was written since the log began.
func (c *creation) position() (string, error) {
	for _, name := range []string{"xtrabackup_info", "mariadb_backup_info"} { // by version
		text, err := os.ReadFile(filepath.Join(c.scratch, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if m := positionForm.FindSubmatch(text); m != nil {
			return string(m[1]), nil
		}
		return "", fmt.Errorf("mariadb-backup told no GTID position: does the server have a binary log?\n%s", text)
	}
	return "", errors.New("mariadb-backup left no information about the backup")
}

// undo deletes what a failed backup uploaded, also when ctx has ended.
func (c *creation) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	left := &Stored{}
	for object, err := range c.Store.List(ctx, c.prefix) {
		if err != nil {
			return fmt.Errorf("delete what the failed backup uploaded: %w", err)
		}
		left.Objects = append(left.Objects, blob.Attributes{Name: object.Name})
	}
	for _, o := range left.Objects {
		if err := c.Store.Delete(ctx, o.Name); err != nil {
			return fmt.Errorf("delete what the failed backup uploaded: %w", err)
		}
	}
	return nil
}

// clientSettings keep the password off the command line.
func (s Source) clientSettings() []byte {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		host, port = s.Address, "3306"
	}
	return fmt.Appendf(nil, "[client]\nprotocol=tcp\nhost=%s\nport=%s\nuser=%s\npassword=%q\n", host, port, s.User, s.Password)
}

func openTCP(s Source) (*sql.DB, error) {
	config := baseConfig()
	config.User, config.Passwd, config.Net, config.Addr = s.User, s.Password, "tcp", s.Address
	return openDB(config)
}
