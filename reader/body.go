package reader

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
)

// decodeBatch reads a body strictly: one JSON object of known fields and nothing after it.
func (r *Reader) decodeBatch(c echo.Context) (*batch, error) {
	data, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, r.limits.BatchBytes))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, wire.NewProblem(wire.CodeTooLarge, "the body is longer than %d bytes", r.limits.BatchBytes)
		}
		return nil, wire.NewProblem(wire.CodeBadRequest, "the body can't be read").WithCause(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	b := &batch{}
	if err := d.Decode(b); err != nil {
		return nil, bodyProblem(err, len(data))
	}
	at := d.InputOffset()
	if rest := bytes.TrimLeft(data[at:], " \t\r\n"); len(rest) > 0 {
		return nil, malformed(int64(len(data)-len(rest)), "something follows the JSON object")
	}
	return b, nil
}

// bodyProblem says where a body stopped making sense.
func bodyProblem(err error, length int) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return malformed(e.Offset, "the body is not JSON: "+e.Error())
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		what := "the body"
		if e.Field != "" {
			what = e.Field
		}
		return malformed(e.Offset, what+" must not be "+inWords(e.Value)).WithField(e.Field)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return badField(strings.Trim(name, `"`), "unknown field %s: the body takes queries, wait, partial, explain, and as defaults and in queries type, key, function, from, to, step", name)
	}
	return malformed(int64(length), "the body ends too early")
}

// inWords names a kind of JSON value, as encoding/json does, with its article.
func inWords(kind string) string {
	switch {
	case kind == "bool":
		return "a boolean"
	case kind == "array", kind == "object":
		return "an " + kind
	}
	return "a " + kind
}

func malformed(offset int64, detail string) *wire.Problem {
	p := wire.NewProblem(wire.CodeBadRequest, "%s", detail)
	p.ByteOffset = &offset
	return p
}

// problemOf returns the problem that an error is.
func problemOf(err error) *wire.Problem {
	if p, ok := errors.AsType[*wire.Problem](err); ok {
		return p
	}
	return wire.NewProblem(wire.CodeInternal, "the query could not be checked").WithCause(err)
}
