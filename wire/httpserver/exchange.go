package httpserver

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

// firstBodyBytes is made room for when a request does not tell its length.
const firstBodyBytes = 64 << 10

// Path returns a path as the router takes it literally: it would read what follows a colon as the name of a parameter.
func Path(path string) string { return strings.ReplaceAll(path, ":", `\:`) }

// ReadBody reads the whole body of a request, of at most limit bytes. Its error is a *wire.Problem.
func ReadBody(c echo.Context, limit int64) ([]byte, error) {
	r := c.Request()
	size := r.ContentLength
	if size > limit {
		return nil, tooLong(limit)
	}
	if size < 0 {
		size = min(firstBodyBytes, limit)
	}
	buffer := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err := buffer.ReadFrom(io.LimitReader(r.Body, limit+1))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok || int64(buffer.Len()) > limit {
		return nil, tooLong(limit)
	}
	if err != nil {
		return nil, wire.NewProblem(wire.CodeBadRequest, "read body: %v", err).WithCause(err)
	}
	return buffer.Bytes(), nil
}

func tooLong(limit int64) *wire.Problem {
	return wire.NewProblem(wire.CodeTooLarge, "the body is longer than %d bytes", limit)
}

// DecodeJSON reads the JSON of an internal call. Its error is a *wire.Problem that says where a malformed body stopped making sense.
func DecodeJSON(body []byte, in any) error {
	err := json.Unmarshal(body, in)
	if err == nil {
		return nil
	}
	problem := wire.NewProblem(wire.CodeBadRequest, "decode request: %v", err).WithCause(err)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		problem.ByteOffset = &syntax.Offset
	}
	return problem
}

// DecodeJSONNumbers is DecodeJSON that leaves numbers of no given type as they were written (json.Number), and refuses unknown fields.
func DecodeJSONNumbers(body []byte, in any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	err := decoder.Decode(in)
	if err == nil && len(bytes.TrimSpace(body[decoder.InputOffset():])) > 0 {
		err = errors.New("there is more behind the value")
	}
	if err == nil {
		return nil
	}
	problem := wire.NewProblem(wire.CodeBadRequest, "decode request: %v", err).WithCause(err)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		problem.ByteOffset = &syntax.Offset
	}
	return problem
}

// SendJSON answers with 200 and out as JSON.
func SendJSON(c echo.Context, out any) error {
	body, err := json.Marshal(out)
	if err != nil {
		return wire.NewProblem(wire.CodeInternal, "encode answer: %v", err).WithCause(err)
	}
	return c.JSONBlob(http.StatusOK, body)
}
