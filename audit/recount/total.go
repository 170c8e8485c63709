package recount

import "math/big"

// Total is what a key adds up to.
type Total struct {
	Count    int64 // Σ weight
	Sum      big.Int
	Min, Max int64 // over the values, meaningful with Values
	Values   bool  // whether any event has a value
}

func (t *Total) add(e *Event) {
	t.Count += e.Weight
	if !e.HasValue {
		return
	}
	var product big.Int
	t.Sum.Add(&t.Sum, product.Mul(big.NewInt(e.Weight), big.NewInt(e.Value)))
	if !t.Values || e.Value < t.Min {
		t.Min = e.Value
	}
	if !t.Values || e.Value > t.Max {
		t.Max = e.Value
	}
	t.Values = true
}
