package flights

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ErrChecksum is wrapped by the error about a file that is not what version 3.2.1 of the package holds.
var ErrChecksum = errors.New("not the expected file")

// check returns nil if the file at path is p.
func (p part) check(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(file, p.size+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return p.compare(path, n, sum.Sum(nil))
}

func (p part) compare(path string, size int64, sum []byte) error {
	if size > p.size {
		return fmt.Errorf("%w: %s has more than %d bytes", ErrChecksum, path, p.size)
	}
	if size < p.size {
		return fmt.Errorf("%w: %s has %d bytes, %s has %d", ErrChecksum, path, size, p.name, p.size)
	}
	if got := hex.EncodeToString(sum); got != p.sha256 {
		return fmt.Errorf("%w: %s has SHA-256 %s, %s has %s", ErrChecksum, path, got, p.name, p.sha256)
	}
	return nil
}

// extractor takes parts out of the package's tarball into dir.
type extractor struct {
	dir      string
	parts    []part
	progress func(done int64)
	done     int64
}

func (x *extractor) run(ctx context.Context, tarball string) error {
	file, err := os.Open(tarball)
	if err != nil {
		return fmt.Errorf("open package: %w", err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("open package: %w", err)
	}
	missing := make(map[string]part, len(x.parts))
	for _, p := range x.parts {
		missing["package/data/"+p.name] = p
	}
	entries := tar.NewReader(plain)
	for len(missing) > 0 {
		entry, err := entries.Next()
		if err != nil {
			return fmt.Errorf("read package, %d files of %d not found: %w", len(missing), len(x.parts), noEOF(err))
		}
		p, wanted := missing[entry.Name]
		if !wanted {
			continue
		}
		if err := x.extract(ctx, p, entries); err != nil {
			return fmt.Errorf("extract %s: %w", entry.Name, err)
		}
		delete(missing, entry.Name)
	}
	return syncDir(x.dir)
}

// extract writes p beside its place, flushed and checked, and then puts it there.
func (x *extractor) extract(ctx context.Context, p part, content io.Reader) (err error) {
	file, err := os.CreateTemp(x.dir, "."+p.name+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := x.fill(ctx, file, p, content); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), filepath.Join(x.dir, p.name))
}

func (x *extractor) fill(ctx context.Context, file *os.File, p part, content io.Reader) error {
	sum := sha256.New()
	from := &counted{ctx: ctx, from: io.LimitReader(content, p.size+1), read: func(n int) {
		x.done += int64(n)
		x.progress(x.done)
	}}
	n, err := io.Copy(io.MultiWriter(file, sum), from)
	if err != nil {
		return err
	}
	if err := p.compare(p.name, n, sum.Sum(nil)); err != nil {
		return err
	}
	if err := file.Chmod(0o644); err != nil {
		return err
	}
	return file.Sync()
}

// counted tells how much was read and stops when its context ends.
type counted struct {
	ctx  context.Context
	from io.Reader
	read func(n int)
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.from.Read(p)
	c.read(n)
	return n, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
