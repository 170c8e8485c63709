package httpserver_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
	"github.com/quipudb/quipu/wire/httpserver"
)

// BenchmarkIntake measures what the server adds to a single-event POST, beside echo alone.
func BenchmarkIntake(b *testing.B) {
	token, hash := auth.Generate()
	verifier, err := auth.New([]auth.Token{{Name: "a", Scopes: []auth.Scope{auth.Write}, SHA256: hash}})
	if err != nil {
		b.Fatal(err)
	}
	server, err := httpserver.New(httpserver.Config{Role: "ingest", Address: "127.0.0.1:0", Auth: verifier})
	if err != nil {
		b.Fatal(err)
	}
	handler := func(c echo.Context) error { return c.NoContent(http.StatusAccepted) }
	server.Echo().POST("/v1/events", handler, verifier.Require(auth.Write))
	bare := echo.New()
	bare.POST("/v1/events", handler)
	for name, test := range map[string]struct {
		handler  http.Handler
		deadline string
	}{"bare echo": {bare, ""}, "server": {server.Echo(), ""}, "server with deadline": {server.Echo(), "5000"}} {
		b.Run(name, func(b *testing.B) {
			w := httptest.NewRecorder()
			req := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader("{}"))
			req.Header.Set("Authorization", "Bearer "+token)
			if test.deadline != "" {
				req.Header.Set(wire.HeaderDeadline, test.deadline)
			}
			b.ReportAllocs()
			for b.Loop() {
				test.handler.ServeHTTP(w, req)
			}
		})
	}
}
