package httpserver_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire/auth"
	"github.com/quipudb/quipu/wire/httpserver"
)

func TestAuthentication(t *testing.T) {
	read, readHash := auth.Generate()
	write, writeHash := auth.Generate()
	verifier, err := auth.New([]auth.Token{
		{Name: "dashboard", Scopes: []auth.Scope{auth.Read}, SHA256: readHash},
		{Name: "producer", Scopes: []auth.Scope{auth.Write}, SHA256: writeHash},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, httpserver.Config{Auth: verifier}, func(e *echo.Echo) {
		e.POST("/v1/events", func(c echo.Context) error { return c.NoContent(http.StatusAccepted) }, verifier.Require(auth.Write))
	})
	tests := []struct {
		method, path, token string
		want                int
	}{
		{http.MethodPost, "/v1/events", write, 202},
		{http.MethodPost, "/v1/events", read, 403},
		{http.MethodPost, "/v1/events", "nobody", 401},
		{http.MethodPost, "/v1/events", "", 401},
		{http.MethodGet, "/metrics", read, 200},
		{http.MethodGet, "/metrics", write, 403},
		{http.MethodGet, "/metrics", "", 401},
		{http.MethodGet, "/healthz", "", 200},
		{http.MethodHead, "/healthz", "", 200},
		{http.MethodHead, "/readyz", "", 200},
		{http.MethodGet, "/readyz", "", 200},
	}
	for _, test := range tests {
		header := http.Header{}
		if test.token != "" {
			header.Set("Authorization", "Bearer "+test.token)
		}
		got := f.do(test.method, test.path, header, nil)
		if got.status != test.want {
			t.Errorf("got status %d for %s %s, want %d", got.status, test.method, test.path, test.want)
		}
		if challenge := got.header.Get("WWW-Authenticate"); (challenge == "Bearer") != (test.want == 401) {
			t.Errorf("got WWW-Authenticate %q with status %d", challenge, got.status)
		}
	}
}

func TestWithoutTokensOnlyLoopbackIsBound(t *testing.T) {
	_, hash := auth.Generate()
	verifier, err := auth.New([]auth.Token{{Name: "a", Scopes: []auth.Scope{auth.Read}, SHA256: hash}})
	if err != nil {
		t.Fatal(err)
	}
	for address, open := range map[string]bool{
		"127.0.0.1:0": true, "127.8.8.8:0": true, "[::1]:0": true, "localhost:0": true, "[::ffff:127.0.0.1]:0": true,
		":0": false, "0.0.0.0:0": false, "[::]:0": false, "10.1.2.3:80": false, "example.com:80": false, "localhost.example.com:80": false,
	} {
		_, err := httpserver.New(httpserver.Config{Role: "reader", Address: address})
		if open != (err == nil) || (!open && !errors.Is(err, httpserver.ErrOpenBind)) {
			t.Errorf("got %v for %s without tokens, want it to be allowed: %v", err, address, open)
		}
		if _, err := httpserver.New(httpserver.Config{Role: "reader", Address: address, Auth: verifier}); err != nil {
			t.Errorf("got %v for %s with tokens, want none", err, address)
		}
	}
	if _, err := httpserver.New(httpserver.Config{Role: "reader", Address: "127.0.0.1"}); err == nil {
		t.Error("an address without a port is accepted")
	}
}

func TestBrowsersOfOtherSitesAreRefusedWithoutTokens(t *testing.T) {
	f := start(t, httpserver.Config{}, func(e *echo.Echo) {
		e.POST("/v1/events", func(c echo.Context) error { return c.NoContent(http.StatusAccepted) })
	})
	for name, test := range map[string]struct {
		header http.Header
		want   int
	}{
		"no browser":  {nil, 202},
		"same site":   {http.Header{"Sec-Fetch-Site": {"same-origin"}}, 202},
		"other site":  {http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		"old browser": {http.Header{"Origin": {"https://evil.example"}}, 403},
	} {
		if got := f.do(http.MethodPost, "/v1/events", test.header, nil).status; got != test.want {
			t.Errorf("%s: got status %d, want %d", name, got, test.want)
		}
	}
}
