package reader

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/quipudb/quipu/wire"
)

// appendValue appends what a function makes of a point, as JSON. count and sum are exact integers of any length; avg is null where
// the weights of the events with a value add up to 0, min and max are null where there is no value.
func appendValue(dst []byte, fn function, p *wire.Point) []byte {
	switch {
	case fn == count:
		return strconv.AppendInt(dst, p.Count, 10)
	case fn == sum:
		return p.Sum.Append(dst)
	case fn == avg && p.ValueCount != 0:
		return appendFloat(dst, p.Sum.Ratio(p.ValueCount))
	case fn == least && p.HasValues:
		return strconv.AppendInt(dst, p.Min, 10)
	case fn == most && p.HasValues:
		return strconv.AppendInt(dst, p.Max, 10)
	}
	return append(dst, "null"...)
}

// appendFloat appends the shortest decimal that reads back as the same number.
func appendFloat(dst []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// appendSeries appends a dense series: every step of the span has its point, those without rows the value of no events.
func appendSeries(dst []byte, fn function, s span, points []wire.Point) []byte {
	dst = append(dst, '[')
	unit := stepMinutes(s.step)
	for start := s.from; start < s.to; start += unit {
		none := wire.Point{Start: start}
		p := &none
		if len(points) > 0 && points[0].Start == start {
			p, points = &points[0], points[1:]
		}
		if start > s.from {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"start":"`...)
		dst = appendMinute(dst, start)
		dst = append(dst, `","value":`...)
		dst = appendValue(dst, fn, p)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendResult appends the fields of a result, without braces: the query as it was understood, and its value, series or error.
func appendResult(dst []byte, r *result) []byte {
	q := &r.query
	dst = appendText(append(dst, `"type":`...), q.kind.Name)
	dst = appendText(append(dst, `,"key":`...), q.key)
	dst = appendText(append(dst, `,"function":`...), string(q.function))
	if q.function != count {
		dst = appendText(append(dst, `,"unit":`...), q.kind.Unit)
	}
	dst = appendOpen(append(dst, `,"from":`...), q.span.from, q.span.openFrom)
	dst = appendOpen(append(dst, `,"to":`...), q.span.to, q.span.openTo)
	if r.partial {
		dst = append(dst, `,"partial":true`...)
	}
	if q.span.step == wire.StepNone {
		return appendValue(append(dst, `,"value":`...), q.function, &r.points[0])
	}
	dst = appendText(append(dst, `,"step":`...), string(q.span.step))
	return appendSeries(append(dst, `,"points":`...), q.function, q.span, r.points)
}

// appendOpen appends a bound of a range, null where it is open.
func appendOpen(dst []byte, minute int64, open bool) []byte {
	if open {
		return append(dst, "null"...)
	}
	return append(appendMinute(append(dst, '"'), minute), '"')
}

func appendText(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(text) // a string always has a JSON form
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}
