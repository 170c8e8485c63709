package reader

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/quipudb/quipu/wire"
)

// params are the query parameters of a request, each given once and each known to the call.
type params map[string]string

// parseParams refuses what the call doesn't know, so that a typo never widens a question in silence.
func parseParams(req *http.Request, known ...string) (params, error) {
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return nil, wire.NewProblem(wire.CodeBadRequest, "the query string can't be decoded: %v", err)
	}
	out := make(params, len(values))
	for name, given := range values {
		if !slices.Contains(known, name) {
			return nil, unknownParam(name, known)
		}
		if len(given) > 1 {
			return nil, badField(name, "%s is given %d times, once is enough", name, len(given))
		}
		if given[0] == "" {
			return nil, badField(name, "%s is empty: give it a value or leave it out", name)
		}
		out[name] = given[0]
	}
	return out, nil
}

func unknownParam(name string, known []string) error {
	if len(known) == 0 {
		return badField(name, "unknown parameter %.64q: this call takes none", name)
	}
	return badField(name, "unknown parameter %.64q: this call takes %s", name, strings.Join(known, ", "))
}

// optional returns a parameter, or nil when it wasn't given.
func (p params) optional(name string) *string {
	if v, ok := p[name]; ok {
		return &v
	}
	return nil
}

// flag reads a parameter that is true or false, by default false.
func (p params) flag(name string) (bool, error) {
	switch text, ok := p[name]; {
	case !ok, text == "false":
		return false, nil
	case text == "true":
		return true, nil
	default:
		return false, badField(name, "%s is %.64q, must be true or false", name, text)
	}
}

func badField(field, format string, args ...any) *wire.Problem {
	return wire.NewProblem(wire.CodeBadRequest, format, args...).WithField(field)
}
