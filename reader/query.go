package reader

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// function is what a query makes of the events of its range.
type function string

// The functions.
const (
	count function = "count" // Σ weight
	sum   function = "sum"   // Σ weight × value
	avg   function = "avg"   // sum ÷ Σ weight of the events with a value
	least function = "min"
	most  function = "max"
)

// query is one checked question: one function of one key over one span.
type query struct {
	kind     event.Type
	key      string
	function function
	span     span
}

// question is a query as it was asked; nil is what wasn't given.
type question struct {
	Type     *string `json:"type,omitempty"`
	Key      *string `json:"key,omitempty"`
	Function *string `json:"function,omitempty"`
	From     *string `json:"from,omitempty"`
	To       *string `json:"to,omitempty"`
	Step     *string `json:"step,omitempty"`
}

// parseQuery checks a question. The errors are problems that name the field.
func (r *Reader) parseQuery(q question) (query, error) {
	kind, err := r.parseType(q.Type)
	if err != nil {
		return query{}, err
	}
	key, err := parseKey(q.Key)
	if err != nil {
		return query{}, err
	}
	fn, err := parseFunction(q.Function, kind)
	if err != nil {
		return query{}, err
	}
	s, err := parseSpan(q.From, q.To, q.Step, r.now())
	if err != nil {
		return query{}, err
	}
	if n, limit := s.points(), int64(r.limits.SeriesPoints); n > limit {
		return query{}, wire.NewProblem(wire.CodeUnprocessable, "the series would have %d points, the limit is %d: take a longer step or a shorter range",
			n, limit).WithField("step")
	}
	return query{kind: kind, key: key, function: fn, span: s}, nil
}

func (r *Reader) parseType(name *string) (event.Type, error) {
	if name == nil {
		return event.Type{}, badField("type", "type is missing")
	}
	types := r.types()
	if types == nil {
		return event.Type{}, wire.NewProblem(wire.CodeUnavailable, "the event types are not known yet").WithRetryAfter(retryAfter)
	}
	kind, ok := types[*name]
	if !ok {
		return event.Type{}, wire.NewProblem(wire.CodeUnknownType, "no event type %.64q; %s", *name, someTypes(types)).WithField("type")
	}
	return kind, nil
}

// someTypes names the first few registered types, for a person who mistyped one.
func someTypes(types map[string]event.Type) string {
	const shown = 8
	names := slices.Sorted(maps.Keys(types))
	switch {
	case len(names) == 0:
		return "none is registered"
	case len(names) > shown:
		return "registered are " + strings.Join(names[:shown], ", ") + " and others: see /v1/event-types"
	}
	return "registered: " + strings.Join(names, ", ")
}

func parseKey(key *string) (string, error) {
	switch {
	case key == nil:
		return "", badField("key", "key is missing")
	case *key == "":
		return "", badField("key", "key is empty, must have 1 to %d bytes", event.MaxKeyBytes)
	case len(*key) > event.MaxKeyBytes:
		return "", badField("key", "key has %d bytes, must have 1 to %d", len(*key), event.MaxKeyBytes)
	case !utf8.ValidString(*key):
		return "", badField("key", "key is not valid UTF-8")
	}
	return *key, nil
}

func parseFunction(name *string, kind event.Type) (function, error) {
	if name == nil {
		return count, nil
	}
	switch fn := function(*name); fn {
	case count, sum, avg:
		return fn, nil
	case least, most:
		if kind.AllowNegative {
			return "", wire.NewProblem(wire.CodeUnprocessable,
				"%s is not offered for %s: its weights may be negative, and a minimum or maximum can't be undone", fn, kind.Name).WithField("function")
		}
		return fn, nil
	}
	return "", badField("function", "function is %.64q, must be count, sum, avg, min or max", *name)
}
