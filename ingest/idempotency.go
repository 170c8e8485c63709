package ingest

import (
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/zeebo/xxh3"

	"github.com/quipudb/quipu/wire"
)

// maxIdempotencyKey bounds an Idempotency-Key.
const maxIdempotencyKey = 255

// seenKeys remembers which body came with which Idempotency-Key, the most recent ones since the start, to notice a key that is used for
// two bodies. That a retry counts once does not depend on it: ids derive from key, place and bytes alone. Safe for concurrent use.
type seenKeys struct {
	bodies *lru.Cache[string, xxh3.Uint128]
}

func newSeenKeys(limit int) (*seenKeys, error) {
	bodies, err := lru.New[string, xxh3.Uint128](limit)
	if err != nil {
		return nil, fmt.Errorf("make cache of idempotency keys: %w", err)
	}
	return &seenKeys{bodies: bodies}, nil
}

// check returns a conflict if the key came with another body before.
func (s *seenKeys) check(key string, body []byte) error {
	sum := xxh3.Hash128(body)
	if before, ok, _ := s.bodies.PeekOrAdd(key, sum); ok && before != sum {
		return wire.NewProblem(wire.CodeConflict, "this Idempotency-Key came before with another body").WithField("Idempotency-Key")
	}
	s.bodies.Get(key) // it is recent again
	return nil
}

func checkIdempotencyKey(key string) error {
	for i := range len(key) {
		if key[i] < 0x20 || key[i] > 0x7e {
			return wire.NewProblem(wire.CodeBadRequest, "Idempotency-Key must be printable ASCII").WithField("Idempotency-Key")
		}
	}
	if len(key) > maxIdempotencyKey {
		return wire.NewProblem(wire.CodeBadRequest, "Idempotency-Key has %d bytes, the limit is %d", len(key), maxIdempotencyKey).WithField("Idempotency-Key")
	}
	return nil
}

const retryFullWindow = 10 * time.Second
