package countfile

import (
	"encoding/binary"
	"fmt"

	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/blob/internal/pages"
	"github.com/quipudb/quipu/event"
)

// page is one page of each column that was asked for. Its values are good until the next is read.
type page struct {
	rows       int
	partitions pages.Numbers32
	types      pages.Texts
	keys       pages.Texts
	titles     pages.Texts
	owners     pages.Texts
	starts     []int64
	counts     []int64
	values     []int32 // for each row its place in the columns below; -1: no event had a value
	valueCount []int64
	valueSum   []byte
	valueMin   []int64
	valueMax   []int64
}

// read reads page number n of some columns into p.
func (p *page) read(r *pages.Reader, g *pages.Group, n int, some []int) error {
	p.rows = int(g.Firsts[n+1] - g.Firsts[n])
	for _, c := range some {
		column, err := r.Read(c, n)
		if err == nil {
			err = p.set(c, column)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *page) set(c int, read parquet.Page) error {
	switch c {
	case colPartition:
		return asDamage(p.partitions.Set(read))
	case colType:
		return asDamage(p.types.Set(read))
	case colKey:
		return asDamage(p.keys.Set(read))
	case colTitle:
		return asDamage(p.titles.Set(read))
	case colOwner:
		return asDamage(p.owners.Set(read))
	}
	data := read.Data()
	switch c {
	case colStart:
		p.starts = data.Int64()
	case colEventCount:
		p.counts = data.Int64()
	case colValueCount:
		p.values = pages.Places(p.values, read.DefinitionLevels())
		p.valueCount = data.Int64()
	case colValueSum:
		p.valueSum, _ = data.FixedLenByteArray()
	case colValueMin:
		p.valueMin = data.Int64()
	case colValueMax:
		p.valueMax = data.Int64()
	}
	return nil
}

// consistent checks that the columns of values have the same rows.
func (p *page) consistent() error {
	some := 0
	for _, place := range p.values {
		if place >= 0 {
			some++
		}
	}
	if len(p.values) != p.rows || len(p.valueCount) != some || len(p.valueSum) != 16*some || len(p.valueMin) != some || len(p.valueMax) != some {
		return fmt.Errorf("%w: the columns of values differ in their nulls", ErrDamaged)
	}
	return nil
}

// aggregate composes row i's.
func (p *page) aggregate(i int) event.Aggregate {
	a := event.NewAggregate()
	a.Count = p.counts[i]
	if place := p.values[i]; place >= 0 {
		a.HasValues = true
		a.ValueCount = p.valueCount[place]
		a.Sum = p.sum(place)
		a.Min, a.Max = p.valueMin[place], p.valueMax[place]
	}
	return a
}

func (p *page) sum(place int32) event.Sum {
	raw := p.valueSum[16*place : 16*place+16]
	return event.Sum{Hi: int64(binary.BigEndian.Uint64(raw)), Lo: binary.BigEndian.Uint64(raw[8:])}
}

// asDamage says what values that don't fit together are.
func asDamage(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return nil
}
