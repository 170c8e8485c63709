package recount

import (
	"context"
	"fmt"
	"iter"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/rawfile"
)

// Store is cold storage; *blob.Store is one.
type Store interface {
	List(ctx context.Context, prefix string) iter.Seq2[blob.Attributes, error]
	Reader(ctx context.Context, name string, size int64, cfg blob.ReaderConfig) *blob.Reader
	Attributes(ctx context.Context, name string) (blob.Attributes, error)
}

// Archive is the archive of raw events in cold storage.
type Archive struct{ store Store }

// NewArchive does no I/O.
func NewArchive(store Store) *Archive { return &Archive{store: store} }

// Names lists the objects of a partition. What is none of raw events is left out.
func (a *Archive) Names(ctx context.Context, partition int) ([]rawfile.Name, error) {
	var names []rawfile.Name
	for object, err := range a.store.List(ctx, rawfile.PartitionPrefix(partition)) {
		if err != nil {
			return nil, fmt.Errorf("list raw events of partition %d: %w", partition, err)
		}
		if name, err := rawfile.ParseName(object.Name); err == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Events visits the events of one object. One that is damaged is rawfile.ErrDamaged.
func (a *Archive) Events(ctx context.Context, name rawfile.Name, visit func(*Event) error) error {
	object, err := name.Object()
	if err != nil {
		return err
	}
	found, err := a.store.Attributes(ctx, object)
	if err != nil {
		return err
	}
	reader := a.store.Reader(ctx, object, found.Bytes, blob.ReaderConfig{})
	for row, err := range rawfile.Read(ctx, reader, found.Bytes, name) {
		if err != nil {
			return err
		}
		e := Event{
			Offset: row.Offset, AppendMs: row.AppendTimeMs, Type: row.Type, Key: row.Key, ID: row.ID, TimeMs: row.TimeMs,
			Weight: row.Weight, Value: row.Value, HasValue: row.HasValue,
		}
		if err := visit(&e); err != nil {
			return err
		}
	}
	return nil
}
