package httpserver_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

func TestReadBodyBounds(t *testing.T) {
	for _, test := range []struct {
		name    string
		body    string
		unknown bool // the request does not tell its length
		want    wire.Code
	}{
		{name: "at the limit", body: "12345678"},
		{name: "at the limit, length unknown", body: "12345678", unknown: true},
		{name: "empty"},
		{name: "above", body: "123456789", want: wire.CodeTooLarge},
		{name: "above, length unknown", body: "123456789", unknown: true, want: wire.CodeTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(test.body))
			if test.unknown {
				r.ContentLength = -1
			}
			got, err := httpserver.ReadBody(echo.New().NewContext(r, httptest.NewRecorder()), 8)
			if wire.CodeOf(err) != test.want {
				t.Fatalf("got error %v, want code %q", err, test.want)
			}
			if err == nil && string(got) != test.body {
				t.Errorf("got body %q, want %q", got, test.body)
			}
		})
	}
}

func TestDecodeJSONSaysWhere(t *testing.T) {
	var in struct{ N int }
	if err := httpserver.DecodeJSON([]byte(`{"N": 7}`), &in); err != nil || in.N != 7 {
		t.Fatalf("got %d, %v, want 7", in.N, err)
	}
	err := httpserver.DecodeJSON([]byte(`{"N": 7,]`), &in)
	problem, ok := err.(*wire.Problem)
	if !ok || problem.Code != wire.CodeBadRequest || problem.ByteOffset == nil || *problem.ByteOffset != 9 {
		t.Errorf("got %+v, want bad_request at byte 9", err)
	}
}

func TestCodeLabel(t *testing.T) {
	for want, err := range map[string]error{
		"ok": nil, "fenced": wire.NewProblem(wire.CodeFenced, "x"), "internal": http.ErrBodyNotAllowed,
	} {
		if got := wire.CodeLabel(err); got != want {
			t.Errorf("label of %v: got %s, want %s", err, got, want)
		}
	}
}
