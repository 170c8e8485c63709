package archive

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/rollup/shards"
	"github.com/quipudb/quipu/wire"
)

// restoreRows is how many rows one call brings back: a transaction that others hardly notice.
const restoreRows = 10_000

// Restore brings whole cold days of a resolution back into a shard, as its leader, and returns how many rows that was. Repeated after a
// failure it begins again.
func (a *Archiver) Restore(ctx context.Context, shard string, leader wire.Leader, resolution string, from, to int64) (rows int64, err error) {
	l := &lead{Archiver: a, shard: shard, leader: leader, hints: a.of(shard)}
	var begun wire.RestoredRange
	request := &wire.RestoreRequest{Leader: leader, Resolution: resolution, From: from, To: to}
	if err := l.call(ctx, wire.PathArchiveRestore, request, &begun); err != nil {
		return 0, fmt.Errorf("begin to restore: %w", err)
	}
	if begun.State != "loading" {
		return 0, nil // it is there already
	}
	known, err := a.entries(ctx, shard, wire.ManifestRequest{Resolution: resolution, From: from, To: to})
	if err != nil {
		return 0, err
	}
	// Together whatever their group: where archive.partition_group was changed, a cell may be in objects of several.
	byDay := map[int64][]*entry{}
	for _, e := range stored(known) {
		byDay[e.day] = append(byDay[e.day], e)
	}
	for at, objects := range byDay {
		n, err := l.restoreDay(ctx, &begun, at, objects)
		rows += n
		if err != nil {
			return rows, fmt.Errorf("restore %s rows of %s: %w", resolution, timeOf(at), err)
		}
	}
	var ended wire.RestoredRange
	if err := l.call(ctx, wire.PathArchiveRestoreEnd, &wire.RestoreEnd{Leader: leader, ID: begun.ID}, &ended); err != nil {
		return rows, fmt.Errorf("end restoring: %w", err)
	}
	return rows, nil
}

// Release ends a range that was brought back; its rows are read from cold storage again, and dropped from the shard a little later.
func (a *Archiver) Release(ctx context.Context, shard string, leader wire.Leader, resolution string, from, to int64) error {
	request := &wire.RestoreRequest{Leader: leader, Resolution: resolution, From: from, To: to, Release: true}
	if err := a.cfg.Shards.JSON(ctx, shard, wire.PathArchiveRestore, request, &wire.RestoredRange{}); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// restoreDay brings back what the objects of a day have, each cell once: the sum of its rows.
func (l *lead) restoreDay(ctx context.Context, into *wire.RestoredRange, at int64, objects []*entry) (rows int64, err error) {
	if l.cfg.SpillDir != "" {
		if err := os.MkdirAll(l.cfg.SpillDir, spillFolders); err != nil {
			return 0, fmt.Errorf("make folder for objects: %w", err)
		}
	}
	folder, err := os.MkdirTemp(l.cfg.SpillDir, spillPrefix)
	if err != nil {
		return 0, fmt.Errorf("make folder for objects: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	slices.SortFunc(objects, func(x, y *entry) int {
		return cmp.Or(cmp.Compare(x.changedAt, y.changedAt), cmp.Compare(x.name, y.name))
	})
	var sources []countfile.Source
	partitions := map[int]bool{}
	for i, e := range objects {
		file, err := l.download(ctx, filepath.Join(folder, strconv.Itoa(i)), e)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		opened, err := countfile.Open(file, e.bytes)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", e.name, err)
		}
		sources = append(sources, countfile.Source{File: opened, Reader: file})
		for partition := range e.parts {
			partitions[partition] = true
		}
	}
	merged, size, err := mergeFile(ctx, filepath.Join(folder, "merged"), l.meta(into.Resolution, at), sources)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, merged.Close()) }()
	whole, err := countfile.Open(merged, size)
	if err != nil {
		return 0, err
	}
	batch := make([]wire.ArchiveRow, 0, restoreRows)
	for row, err := range whole.All(ctx, merged) {
		if err != nil {
			return rows, err
		}
		if !partitions[row.Partition] {
			continue // lives in another shard
		}
		if batch = append(batch, wire.ArchiveRow(row)); len(batch) == restoreRows {
			if err := l.addRestored(ctx, into, batch); err != nil {
				return rows, err
			}
			rows, batch = rows+int64(len(batch)), batch[:0]
		}
	}
	if len(batch) > 0 {
		err = l.addRestored(ctx, into, batch)
	}
	return rows + int64(len(batch)), err
}

// download copies an object to a file of this machine.
func (l *lead) download(ctx context.Context, path string, e *entry) (*os.File, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("make file for an object: %w", err)
	}
	got, err := l.cfg.Store.Download(ctx, e.name, file)
	l.metrics.storageSaid(err)
	if want := (blob.Info{Bytes: e.bytes, SHA256: e.sha256}); err == nil && got != want {
		err = fmt.Errorf("%s: %w: %d bytes with SHA-256 %s, not %d with %s", e.name, blob.ErrDamaged, got.Bytes, got.SHA256, want.Bytes, want.SHA256)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func mergeFile(ctx context.Context, path string, meta countfile.Meta, sources []countfile.Source) (*os.File, int64, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, 0, fmt.Errorf("make file to merge objects: %w", err)
	}
	buffer := bufio.NewWriterSize(file, 1<<20)
	_, err = countfile.Merge(ctx, buffer, meta, sources...)
	if err == nil {
		err = buffer.Flush()
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

func (l *lead) addRestored(ctx context.Context, into *wire.RestoredRange, rows []wire.ArchiveRow) error {
	query := url.Values{
		"epoch": {strconv.FormatUint(l.leader.Epoch, 10)}, "owner": {l.leader.Owner}, "range": {strconv.FormatUint(into.ID, 10)},
	}
	body := wire.EncodeArchiveRows(nil, &wire.ArchiveRows{Rows: rows})
	begun := time.Now()
	if _, err := l.cfg.Shards.Bytes(ctx, l.shard, wire.PathArchiveRestoreAdd+"?"+query.Encode(), wire.ArchiveRowsType, body); err != nil {
		return fmt.Errorf("add rows: %w", err)
	}
	return shards.Rest(ctx, time.Since(begun), l.cfg.Pause)
}
