package shardproxy

import (
	"context"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/mysql/guard"
	"github.com/quipudb/quipu/wire"
)

func (p *Proxy) lookupKey(ctx context.Context, r *wire.KeyRequest) (*wire.KeyInfo, error) {
	if err := checkKey(r.Type, r.Key); err != nil {
		return nil, err
	}
	s, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	partition := s.PartitionOf(r.Type, r.Key)
	var got mysql.KeyInfo
	from, err := p.reading(ctx, func(ctx context.Context, db *mysql.DB) (err error) {
		ctx, done := p.within(ctx, guard.Point)
		defer done()
		got, err = db.LookupKey(ctx, partition, r.Key)
		return err
	})
	if err != nil {
		return nil, err
	}
	header := &mysql.Header{Term: got.Term, AsOf: map[int]int64{partition: got.AsOf}}
	return &wire.KeyInfo{
		Type: r.Type, Key: r.Key, Known: got.Known, Title: got.Title, Owner: got.Owner, Partition: partition, Shard: p.cfg.ShardID,
		Provenance: p.provenance(from, header, 1, nil),
	}, nil
}

func checkKey(eventType, key string) error {
	switch {
	case !event.ValidTypeName(eventType):
		return wire.NewProblem(wire.CodeBadRequest, "%q is no event type's name", eventType).WithField("type")
	case len(key) == 0 || len(key) > event.MaxKeyBytes:
		return wire.NewProblem(wire.CodeBadRequest, "a key has %d bytes, must be 1 to %d", len(key), event.MaxKeyBytes).WithField("key")
	}
	return nil
}

func (p *Proxy) importKeys(ctx context.Context, r *wire.KeysImport) (*wire.KeysImported, error) {
	if len(r.Keys) > wire.MaxKeysPerImport {
		return nil, wire.NewProblem(wire.CodeBadRequest, "%d keys, at most %d", len(r.Keys), wire.MaxKeysPerImport).WithField("keys")
	}
	s, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	keys := make([]mysql.KeyAttributes, len(r.Keys))
	for i, k := range r.Keys {
		if err := checkKey(k.Type, k.Key); err != nil {
			return nil, err
		}
		keys[i] = mysql.KeyAttributes{Partition: s.PartitionOf(k.Type, k.Key), Name: k.Key, Title: k.Title, Owner: k.Owner}
	}
	if len(keys) == 0 {
		return &wire.KeysImported{}, nil
	}
	d, err := p.writing()
	if err != nil {
		return nil, err
	}
	done, err := d.primary.ImportKeys(ctx, keys)
	if err != nil {
		d.suspect(err)
		return nil, err
	}
	return &wire.KeysImported{Created: done.Created, Updated: done.Updated}, nil
}
