// Package zipf draws ranks by Zipf's law in constant time: rank k, counted from 1, with probability proportional to 1/k^s.
//
// It uses the alias method (Walker 1977; tables as by Vose 1991): one table look-up a draw, whatever the number of ranks. A Table is
// immutable and safe for concurrent use.
package zipf

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// MaxRanks bounds a table: 8 bytes a rank.
const MaxRanks = 1 << 28

// ErrSettings is wrapped by what New returns.
var ErrSettings = errors.New("invalid Zipf settings")

// column is one column of the alias table: its own rank below the threshold, the other one from it on.
type column struct {
	threshold uint32
	other     uint32
}

// Table draws ranks 0 … n−1.
type Table struct{ columns []column }

// New returns a table of n ranks with the exponent s ≥ 0; at 0 all ranks are equally likely.
func New(n int, s float64) (*Table, error) {
	if n < 1 || n > MaxRanks {
		return nil, fmt.Errorf("%w: %d keys, must be 1 to %d", ErrSettings, n, MaxRanks)
	}
	if !(s >= 0 && s <= 20) {
		return nil, fmt.Errorf("%w: exponent %v, must be 0 to 20", ErrSettings, s)
	}
	weights := make([]float64, n)
	sum := 0.0
	for k := n - 1; k >= 0; k-- { // small ones first, for precision
		weights[k] = math.Pow(float64(k+1), -s)
		sum += weights[k]
	}
	scale := float64(n) / sum
	for k := range weights {
		weights[k] *= scale
	}
	return &Table{columns: fill(weights)}, nil
}

// fill pairs ranks that are rarer than average with ranks that are more frequent, one pair a column. The weights average 1.
func fill(weights []float64) []column {
	columns := make([]column, len(weights))
	var small, large []uint32
	for k, w := range weights {
		if w < 1 {
			small = append(small, uint32(k))
		} else {
			large = append(large, uint32(k))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		columns[s] = column{threshold: uint32(weights[s] * (1 << 32)), other: l}
		weights[l] -= 1 - weights[s]
		if weights[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, rest := range [][]uint32{small, large} { // 1, but for rounding
		for _, k := range rest {
			columns[k] = column{threshold: math.MaxUint32, other: k}
		}
	}
	return columns
}

// Rank returns the rank for 64 random bits. It has no branch that a processor could mispredict, so that the cache misses of
// many draws in a row overlap.
func (t *Table) Rank(random uint64) int {
	k, _ := bits.Mul64(random&^math.MaxUint32, uint64(len(t.columns)))
	c := t.columns[k]
	rank := c.other
	if uint32(random) < c.threshold {
		rank = uint32(k)
	}
	return int(rank)
}

// Ranks returns the number of ranks.
func (t *Table) Ranks() int { return len(t.columns) }
