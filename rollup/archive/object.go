package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/wire"
)

// errReadBack says that what was read of an object is not what was written.
var errReadBack = errors.New("the object that was read back is another one than was written")

// bin names the rows that share objects: a resolution's, of a day, of a group of partitions.
type bin struct {
	day   int64
	group int
}

func (a *Archiver) binOf(row *countfile.Row) bin {
	return bin{floorDay(row.Minute), row.Partition / a.cfg.PartitionGroup}
}

// newName names an object of a bin, as no other ever was.
func (l *lead) newName(resolution string, b bin) (string, error) {
	unique, err := countfile.NewUnique()
	if err != nil {
		return "", err
	}
	return countfile.ObjectName(resolution, b.day, b.group, l.shard, unique)
}

func (l *lead) meta(resolution string, day int64) countfile.Meta {
	return countfile.Meta{Resolution: resolution, Day: day, Cluster: l.cfg.Cluster, Shard: l.shard}
}

// put writes an announced object of rows.
func (l *lead) put(ctx context.Context, name string, meta countfile.Meta, rows []countfile.Row) (wire.ArchiveObject, error) {
	return l.putBy(ctx, name, meta, func(w io.Writer) (countfile.Summary, error) { return countfile.Write(w, rows, meta) })
}

// putBy writes an announced object, reads it back and sums it up.
func (l *lead) putBy(ctx context.Context, name string, meta countfile.Meta, write func(io.Writer) (countfile.Summary, error)) (wire.ArchiveObject, error) {
	var written countfile.Summary
	info, err := l.cfg.Store.Upload(ctx, name, func(w io.Writer) (err error) {
		written, err = write(w)
		return err
	})
	if err != nil {
		l.metrics.storageSaid(err)
		return wire.ArchiveObject{}, fmt.Errorf("write object: %w", err)
	}
	data, err := l.get(ctx, name, info)
	if err != nil {
		return wire.ArchiveObject{}, fmt.Errorf("read back object: %w", err)
	}
	found, read, err := countfile.Sum(ctx, bytes.NewReader(data), info.Bytes)
	if err == nil && found != meta {
		err = fmt.Errorf("%w: its rows are of %+v, not %+v", errReadBack, found, meta)
	}
	if err == nil {
		err = same(written, read)
	}
	if err != nil {
		return wire.ArchiveObject{}, fmt.Errorf("read back object %s: %w", name, err)
	}
	l.metrics.wrote(l.shard, meta.Resolution, info.Bytes)
	return wire.ArchiveObject{Object: name, From: meta.Day, To: meta.Day + minutesOfDay, Bytes: info.Bytes, SHA256: info.SHA256, Parts: sumsOf(read)}, nil
}

// get reads all of an object, which must be what it was.
func (a *Archiver) get(ctx context.Context, name string, want blob.Info) ([]byte, error) {
	var data bytes.Buffer
	data.Grow(int(min(want.Bytes, maxGrow)))
	got, err := a.cfg.Store.Download(ctx, name, &data)
	a.metrics.storageSaid(err)
	if err != nil {
		return nil, err
	}
	if got != want {
		return nil, fmt.Errorf("%s: %w: %d bytes with SHA-256 %s, not %d with %s", name, blob.ErrDamaged, got.Bytes, got.SHA256, want.Bytes, want.SHA256)
	}
	return data.Bytes(), nil
}

// maxGrow bounds what is taken in advance because a manifest says so.
const maxGrow = 1 << 28

func same(written, read countfile.Summary) error {
	if len(written.Parts) != len(read.Parts) {
		return fmt.Errorf("%w: %d partitions, not %d", errReadBack, len(read.Parts), len(written.Parts))
	}
	for i, want := range written.Parts {
		if read.Parts[i] != want {
			return fmt.Errorf("%w: partition %d sums up to %+v, not %+v", errReadBack, want.Partition, read.Parts[i], want)
		}
	}
	return nil
}

func sumsOf(s countfile.Summary) []wire.ArchiveSums {
	sums := make([]wire.ArchiveSums, len(s.Parts))
	for i, part := range s.Parts {
		sums[i] = wire.ArchiveSums(part)
	}
	return sums
}
