package event

// Aggregate is what a set of events of one type and key adds up to. The zero value is not empty: use NewAggregate.
type Aggregate struct {
	Count      int64 // Σ weight
	ValueCount int64 // Σ weight of the events that carry a value
	Sum        Sum   // Σ weight × value
	Min, Max   int64 // over the values; NoMin and NoMax when there is none
	HasValues  bool  // whether any event carried a value, also when their weights cancel out
}

// NewAggregate returns the aggregate of no events.
func NewAggregate() Aggregate { return Aggregate{Min: NoMin, Max: NoMax} }

// Merge adds o to a.
func (a *Aggregate) Merge(o Aggregate) {
	a.Count += o.Count
	if !o.HasValues {
		return
	}
	a.HasValues = true
	a.ValueCount += o.ValueCount
	a.Sum = a.Sum.Add(o.Sum)
	a.Min = min(a.Min, o.Min)
	a.Max = max(a.Max, o.Max)
}

// AddEvent adds one event of the given weight, with its value if it has one.
func (a *Aggregate) AddEvent(weight, value int64, hasValue bool) {
	a.Count += weight
	if !hasValue {
		return
	}
	a.HasValues = true
	a.ValueCount += weight
	a.Sum = a.Sum.Add(Product(value, weight))
	a.Min = min(a.Min, value)
	a.Max = max(a.Max, value)
}

// Row is what one flush adds to a cell: a key of a type in a minute.
type Row struct {
	Type, Key string
	Minute    int64 // since 1970 UTC
	Aggregate
}
