package countfile

import (
	"bytes"
	"fmt"

	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/quipudb/quipu/blob/internal/pages"
)

// filter leaves the candidates that have a key which the group's bloom filter knows.
func (s *search) filter(g *pages.Group, candidates []candidate) ([]candidate, error) {
	if g.BloomAt[colKey] == 0 || g.BloomBytes[colKey] <= 0 {
		return candidates, nil
	}
	bits, err := s.readFilter(g)
	if err != nil {
		return nil, err
	}
	left := candidates[:0]
	for _, c := range candidates {
		known := make([]string, 0, len(c.keys))
		for _, key := range c.keys {
			if bits.Check(bloom.XXH64{}.Sum64([]byte(key))) {
				known = append(known, key)
			}
		}
		if len(known) > 0 {
			left = append(left, candidate{page: c.page, keys: known})
		}
	}
	return left, nil
}

func (s *search) readFilter(g *pages.Group) (bloom.SplitBlockFilter, error) {
	data := make([]byte, g.BloomBytes[colKey])
	if err := s.from.Load(g.BloomAt[colKey], g.BloomBytes[colKey]); err != nil {
		return nil, err
	}
	if _, err := s.from.ReadAt(data, g.BloomAt[colKey]); err != nil {
		return nil, pages.Damage(s.from, err)
	}
	input := bytes.NewReader(data)
	var header format.BloomFilterHeader
	if err := thrift.NewDecoder(new(thrift.CompactProtocol).NewReader(input)).Decode(&header); err != nil {
		return nil, fmt.Errorf("%w: bloom filter: %v", ErrDamaged, err)
	}
	bits := data[len(data)-input.Len():]
	if header.NumBytes <= 0 || int(header.NumBytes) != len(bits) || len(bits)%bloom.BlockSize != 0 {
		return nil, fmt.Errorf("%w: bloom filter of %d bytes in %d", ErrDamaged, header.NumBytes, len(bits))
	}
	return bloom.MakeSplitBlockFilter(bits), nil
}
