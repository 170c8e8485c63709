package clusterproxy

import (
	"context"
	"net/http"
	"sync"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

func checkKey(eventType, key, field string) error {
	switch {
	case !event.ValidTypeName(eventType):
		return wire.NewProblem(wire.CodeBadRequest, "%q is no event type's name", eventType).WithField(field)
	case len(key) == 0 || len(key) > event.MaxKeyBytes:
		return wire.NewProblem(wire.CodeBadRequest, "a key has %d bytes, must be 1 to %d", len(key), event.MaxKeyBytes).WithField(field)
	}
	return nil
}

// lookupKey asks the shard of the key's partition.
func (p *Proxy) lookupKey(ctx context.Context, r *wire.KeyRequest) (*wire.KeyInfo, error) {
	if err := checkKey(r.Type, r.Key, "key"); err != nil {
		return nil, err
	}
	s, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	partition := s.PartitionOf(r.Type, r.Key)
	var out *wire.KeyInfo
	shard, err := p.atOwner(partition, func(shard string) (err error) {
		out, err = askShard[wire.KeyInfo](ctx, p, "lookup_key", shard, wire.PathKeyInfo, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.Type, out.Key, out.Partition, out.Shard = r.Type, r.Key, partition, shard
	return out, nil
}

// importKeys sends each shard the keys of its partitions. If one fails, the others may have done their part: the import is
// safe to repeat.
func (p *Proxy) importKeys(ctx context.Context, r *wire.KeysImport) (*wire.KeysImported, error) {
	if err := checkImport(r); err != nil {
		return nil, err
	}
	s, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	partitions := make([]int, len(r.Keys))
	for i, k := range r.Keys {
		partitions[i] = s.PartitionOf(k.Type, k.Key)
	}
	var (
		mu    sync.Mutex // guards the following
		total wire.KeysImported
		first error
	)
	p.scatter(ctx, s, partitions, func(ctx context.Context, one part) error {
		out, err := p.importPart(ctx, r, one)
		mu.Lock()
		defer mu.Unlock()
		total.Created += out.Created
		total.Updated += out.Updated
		return err
	}, func(_ part, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil && (first == nil || isRequestFault(err)) {
			first = err
		}
	})
	if first != nil {
		return nil, first
	}
	return &total, nil
}

func (p *Proxy) importPart(ctx context.Context, r *wire.KeysImport, one part) (wire.KeysImported, error) {
	in := wire.KeysImport{Keys: make([]wire.KeyAttributes, len(one.items))}
	for i, item := range one.items {
		in.Keys[i] = r.Keys[item]
	}
	var out wire.KeysImported
	err := p.onShard(ctx, "import_keys", one.shard, func(ctx context.Context, base string) error {
		return p.cfg.Client.JSON(ctx, http.MethodPost, base+wire.PathKeysImport, &in, &out)
	})
	return out, err
}

func checkImport(r *wire.KeysImport) error {
	if len(r.Keys) == 0 || len(r.Keys) > wire.MaxKeysPerImport {
		return wire.NewProblem(wire.CodeBadRequest, "%d keys, must be 1 to %d", len(r.Keys), wire.MaxKeysPerImport).WithField("keys")
	}
	for _, k := range r.Keys {
		if err := checkKey(k.Type, k.Key, "keys"); err != nil {
			return err
		}
	}
	return nil
}
