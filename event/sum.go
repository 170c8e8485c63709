package event

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"strconv"
)

// Sum is a signed 128-bit integer in two's complement: the exact Σ weight × value of a cell. The zero value is 0.
type Sum struct {
	Hi int64
	Lo uint64
}

// ErrSumRange is returned for a text that is not an integer of at most 128 bits.
var ErrSumRange = errors.New("sum is not an integer within 128 bits")

// Product returns a × b without overflow.
func Product(a, b int64) Sum {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	h := int64(hi)
	if a < 0 {
		h -= b
	}
	if b < 0 {
		h -= a
	}
	return Sum{Hi: h, Lo: lo}
}

// SumOf returns v as a Sum.
func SumOf(v int64) Sum { return Sum{Hi: v >> 63, Lo: uint64(v)} }

// Add returns s + o. Overflow of 128 bits wraps; the limits of Event keep it out of reach.
func (s Sum) Add(o Sum) Sum {
	lo, carry := bits.Add64(s.Lo, o.Lo, 0)
	return Sum{Hi: s.Hi + o.Hi + int64(carry), Lo: lo}
}

// Int64 returns the sum as an int64 and whether it fits.
func (s Sum) Int64() (int64, bool) {
	v := int64(s.Lo)
	return v, s.Hi == v>>63
}

// Big returns the sum as a big integer.
func (s Sum) Big() *big.Int {
	b := new(big.Int).Lsh(big.NewInt(s.Hi), 64)
	return b.Add(b, new(big.Int).SetUint64(s.Lo))
}

// String returns the sum in decimal.
func (s Sum) String() string { return string(s.Append(nil)) }

// Append appends the decimal form of the sum to dst.
func (s Sum) Append(dst []byte) []byte {
	if v, ok := s.Int64(); ok {
		return strconv.AppendInt(dst, v, 10)
	}
	return s.Big().Append(dst, 10)
}

// ParseSum reads a decimal integer.
func ParseSum(text string) (Sum, error) {
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return SumOf(v), nil
	}
	b, ok := new(big.Int).SetString(text, 10)
	if !ok || b.BitLen() > 127 {
		return Sum{}, fmt.Errorf("parse %q: %w", text, ErrSumRange)
	}
	lo := new(big.Int).And(b, new(big.Int).SetUint64(^uint64(0)))
	hi := new(big.Int).Rsh(b, 64)
	return Sum{Hi: hi.Int64(), Lo: lo.Uint64()}, nil
}

// Ratio returns s ÷ n as the nearest float64, for averages.
func (s Sum) Ratio(n int64) float64 {
	if v, ok := s.Int64(); ok && v < 1<<53 && v > -(1<<53) {
		return float64(v) / float64(n)
	}
	f, _ := new(big.Rat).SetFrac(s.Big(), big.NewInt(n)).Float64()
	return f
}

// MarshalJSON writes the sum as a JSON integer of any length.
func (s Sum) MarshalJSON() ([]byte, error) { return s.Append(nil), nil }

// UnmarshalJSON reads a JSON integer of any length.
func (s *Sum) UnmarshalJSON(data []byte) error {
	v, err := ParseSum(string(data))
	if err != nil {
		return err
	}
	*s = v
	return nil
}
