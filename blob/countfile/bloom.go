package countfile

import (
	"bytes"
	"fmt"

	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// filter leaves the candidates that have a key which the group's bloom filter knows.
func (s *search) filter(g *group, candidates []candidate) ([]candidate, error) {
	if g.bloom == 0 || g.bloomLen <= 0 {
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

func (s *search) readFilter(g *group) (bloom.SplitBlockFilter, error) {
	data := make([]byte, g.bloomLen)
	if err := s.from.Load(g.bloom, g.bloomLen); err != nil {
		return nil, err
	}
	if _, err := s.from.ReadAt(data, g.bloom); err != nil {
		return nil, damage(s.from, err)
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
