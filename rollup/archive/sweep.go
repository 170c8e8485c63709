package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/wire"
)

// objectsPrefix is what the names of all objects begin with.
const objectsPrefix = "resolution="

// ErrUnknownReferences says that nothing may be deleted just now: a database could not be asked what it refers to.
var ErrUnknownReferences = errors.New("it is not known what all databases refer to")

// sweep deletes what nobody refers to any more, and looks for days with many small objects.
func (l *lead) sweep(ctx context.Context) error {
	l.hints.swept = l.cfg.Now() // also if it fails: it is for the next interval to try again
	known, err := l.entries(ctx, l.shard, wire.ManifestRequest{})
	if err != nil {
		return err
	}
	l.hints.merges = l.findMerges(stored(known), l.cfg.MaxFilesPerDay+1)
	if err := l.deleteRetired(ctx, known); err != nil {
		return err
	}
	orphans, err := l.orphans(ctx, func(name countfile.Name, object string) bool {
		return name.Shard == l.shard && known[object] == nil
	})
	if err != nil {
		return err
	}
	deleted, err := l.deleteUnreferenced(ctx, orphans)
	if len(deleted) > 0 {
		l.metrics.orphans.WithLabelValues(l.shard).Add(float64(len(deleted)))
		l.log.Info("deleted objects that nothing refers to", "shard", l.shard, "objects", len(deleted))
	}
	return err
}

// deleteRetired deletes objects that were replaced a while ago, and then what the manifest says of them.
func (l *lead) deleteRetired(ctx context.Context, known map[string]*entry) error {
	before := l.cfg.Now().Add(-l.cfg.DeleteGrace).UnixMilli()
	var old []string
	for _, e := range known {
		if e.state != stateStored && e.changedAt <= before {
			old = append(old, e.name)
		}
	}
	deleted, err := l.deleteUnreferenced(ctx, old)
	if err != nil || len(deleted) == 0 {
		return err
	}
	l.log.Info("deleted objects that were replaced", "shard", l.shard, "objects", len(deleted))
	return inParts(deleted, func(part []string) error {
		return l.call(ctx, wire.PathArchiveForget, &wire.ArchiveIntent{Leader: l.leader, Objects: part}, &wire.Done{})
	})
}

// orphans lists old objects that may belong to nobody.
func (a *Archiver) orphans(ctx context.Context, may func(name countfile.Name, object string) bool) ([]string, error) {
	before := a.cfg.Now().Add(-a.cfg.DeleteGrace)
	var found []string
	for object, err := range a.cfg.Store.List(ctx, objectsPrefix) {
		if err != nil {
			a.metrics.storageSaid(err)
			return nil, err
		}
		name, err := countfile.ParseName(object.Name)
		if err != nil || object.Modified.After(before) || !may(name, object.Name) {
			continue // what is not ours is left alone
		}
		found = append(found, object.Name)
	}
	a.metrics.storageSaid(nil)
	return found, nil
}

// deleteUnreferenced deletes those of some objects that no database of any shard refers to.
func (a *Archiver) deleteUnreferenced(ctx context.Context, objects []string) (deleted []string, err error) {
	slices.Sort(objects)
	err = inParts(objects, func(part []string) error {
		free, err := a.unreferenced(ctx, part)
		if err != nil {
			return err
		}
		for _, object := range free {
			if err := a.cfg.Store.Delete(ctx, object); err != nil {
				return err
			}
			deleted = append(deleted, object)
		}
		return nil
	})
	return deleted, err
}

// unreferenced asks every shard, and fails unless all of their databases answered.
func (a *Archiver) unreferenced(ctx context.Context, objects []string) ([]string, error) {
	shards := a.cfg.Shards.IDs()
	if len(shards) == 0 {
		return nil, fmt.Errorf("%w: no shard is known", ErrUnknownReferences)
	}
	free := slices.Clone(objects)
	for _, shard := range shards {
		var answer wire.ReferencesAnswer
		if err := a.cfg.Shards.JSON(ctx, shard, wire.PathArchiveReferences, &wire.ReferencesRequest{Objects: objects}, &answer); err != nil {
			return nil, fmt.Errorf("%w: ask shard %s: %w", ErrUnknownReferences, shard, err)
		}
		if len(answer.Missing) > 0 {
			return nil, fmt.Errorf("%w: shard %s lacks %s", ErrUnknownReferences, shard, strings.Join(answer.Missing, ", "))
		}
		free = slices.DeleteFunc(free, func(object string) bool { return slices.Contains(answer.Referenced, object) })
	}
	return a.notRetired(ctx, shards, free)
}

// notRetired leaves out what some shard retired within the grace: who asked before that may still read it.
func (a *Archiver) notRetired(ctx context.Context, shards, objects []string) ([]string, error) {
	type place struct {
		resolution string
		day        int64
	}
	byPlace := map[place][]string{}
	for _, object := range objects {
		name, err := countfile.ParseName(object)
		if err != nil {
			return nil, err
		}
		at := place{name.Resolution, name.Day}
		byPlace[at] = append(byPlace[at], object)
	}
	before := a.cfg.Now().Add(-a.cfg.DeleteGrace).UnixMilli()
	recent := map[string]bool{}
	for at := range byPlace {
		for _, shard := range shards {
			request := wire.ManifestRequest{Resolution: at.resolution, From: at.day, To: at.day + minutesOfDay}
			if err := a.manifest(ctx, shard, request, func(row *wire.ManifestRow) error {
				recent[row.Object] = recent[row.Object] || row.ChangedAt > before
				return nil
			}); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrUnknownReferences, err)
			}
		}
	}
	return slices.DeleteFunc(objects, func(object string) bool { return recent[object] }), nil
}

// RemoveOrphans deletes old objects of all shards, also of those that are no more, that no manifest names and no database refers to.
func (a *Archiver) RemoveOrphans(ctx context.Context) ([]string, error) {
	orphans, err := a.orphans(ctx, func(countfile.Name, string) bool { return true })
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, shard := range a.cfg.Shards.IDs() {
		if err := a.manifest(ctx, shard, wire.ManifestRequest{}, func(row *wire.ManifestRow) error {
			named[row.Object] = true
			return nil
		}); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnknownReferences, err)
		}
	}
	orphans = slices.DeleteFunc(orphans, func(object string) bool { return named[object] })
	return a.deleteUnreferenced(ctx, orphans)
}
