package archive

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/wire"
)

// mergesAtOnce bounds what one look finds; the next one finds the rest.
const mergesAtOnce = 1000

// merge is small objects of one bin that become one, from old to new.
type merge struct {
	resolution string
	bin
	objects []*entry
}

// findMerges looks for bins with at least so many small objects: those that have less than half of what fits.
func (a *Archiver) findMerges(stored []*entry, least int) []merge {
	type place struct {
		resolution string
		bin
	}
	small := map[place][]*entry{}
	for _, e := range stored {
		name, err := countfile.ParseName(e.name)
		if err != nil || e.rows >= int64(a.cfg.FileRows)/2 {
			continue
		}
		at := place{e.resolution, bin{e.day, name.Group}}
		small[at] = append(small[at], e)
	}
	var found []merge
	for at, objects := range small {
		if len(objects) < max(2, least) {
			continue
		}
		found = append(found, merge{resolution: at.resolution, bin: at.bin, objects: a.fitting(objects)})
	}
	slices.SortFunc(found, func(x, y merge) int {
		return cmp.Or(cmp.Compare(x.day, y.day), cmp.Compare(x.resolution, y.resolution), cmp.Compare(x.group, y.group))
	})
	return found[:min(len(found), mergesAtOnce)]
}

// fitting picks the smallest objects, as many as fit one, and returns them from old to new.
func (a *Archiver) fitting(objects []*entry) []*entry {
	slices.SortFunc(objects, func(x, y *entry) int { return cmp.Or(cmp.Compare(x.rows, y.rows), cmp.Compare(x.name, y.name)) })
	rows, n := int64(0), 0
	for n < len(objects) && (n < 2 || rows+objects[n].rows <= int64(a.cfg.FileRows)) {
		rows += objects[n].rows
		n++
	}
	picked := objects[:n]
	slices.SortFunc(picked, func(x, y *entry) int {
		return cmp.Or(cmp.Compare(x.changedAt, y.changedAt), cmp.Compare(x.name, y.name))
	})
	return picked
}

// merge writes one object of several, which then retire, and tells whether it did.
func (l *lead) merge(ctx context.Context, m merge) (bool, error) {
	var sources []countfile.Source
	var replaced []string
	for _, e := range m.objects {
		source, err := l.source(ctx, e)
		if err != nil {
			return false, fmt.Errorf("merge %s: %w", e.name, err)
		}
		if source == nil {
			continue
		}
		sources, replaced = append(sources, *source), append(replaced, e.name)
	}
	if len(sources) < 2 {
		return false, nil
	}
	name, err := l.newName(m.resolution, m.bin)
	if err != nil {
		return false, err
	}
	if err := l.intend(ctx, []string{name}); err != nil {
		return false, err
	}
	meta := l.meta(m.resolution, m.day)
	object, err := l.putBy(ctx, name, meta, func(w io.Writer) (countfile.Summary, error) {
		return countfile.Merge(ctx, w, meta, sources...)
	})
	if err != nil {
		return false, fmt.Errorf("merge objects of %s: %w", timeOf(m.day), err)
	}
	rows, err := l.commit(ctx, &wire.ArchiveCommit{
		Leader: l.leader, Kind: wire.CommitMerged, Resolution: m.resolution, From: m.day, To: m.day + minutesOfDay,
		Objects: []wire.ArchiveObject{object}, Replaced: replaced,
	})
	if err != nil {
		return false, err
	}
	l.log.Info("merged objects", "shard", l.shard, "resolution", m.resolution, "day", timeOf(m.day), "objects", len(replaced), "rows", rows)
	return true, nil
}

// source reads an object to merge; nil is one with rows of partitions that the shard does not have, which is left as it is.
func (l *lead) source(ctx context.Context, e *entry) (*countfile.Source, error) {
	data, err := l.get(ctx, e.name, blob.Info{Bytes: e.bytes, SHA256: e.sha256})
	if err != nil {
		return nil, err
	}
	reader := bytes.NewReader(data)
	file, err := countfile.Open(reader, int64(len(data)))
	if err != nil {
		return nil, err
	}
	if file.Rows() != e.rows {
		return nil, nil
	}
	return &countfile.Source{File: file, Reader: reader}, nil
}

// Compact merges what can be merged of some days, as the leader of a shard, and returns how many objects it wrote.
func (a *Archiver) Compact(ctx context.Context, shard string, leader wire.Leader, from, to int64) (int, error) {
	l := &lead{Archiver: a, shard: shard, leader: leader, hints: a.of(shard)}
	for merged := 0; ; {
		known, err := a.entries(ctx, shard, wire.ManifestRequest{From: from, To: to})
		if err != nil {
			return merged, err
		}
		found := a.findMerges(stored(known), 2)
		if len(found) == 0 {
			return merged, nil
		}
		before := merged
		for _, m := range found {
			wrote, err := l.merge(ctx, m)
			if err != nil {
				return merged, err
			}
			if wrote {
				merged++
			}
		}
		if merged == before {
			return merged, nil
		}
	}
}
