package auth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

func TestScopes(t *testing.T) {
	tokens := map[auth.Scope]string{}
	var configured []auth.Token
	for _, scope := range auth.Scopes() {
		token, hash := auth.Generate()
		tokens[scope] = token
		configured = append(configured, auth.Token{Name: string(scope), Scopes: []auth.Scope{scope}, SHA256: hash})
	}
	verifier, err := auth.New(configured)
	if err != nil {
		t.Fatal(err)
	}
	if !verifier.Enabled() {
		t.Error("a verifier with tokens is not enabled")
	}
	for _, held := range auth.Scopes() {
		for _, needed := range auth.Scopes() {
			want := wire.CodeForbidden
			if held == needed || held == auth.Admin {
				want = ""
			}
			if got := wire.CodeOf(verifier.Check("Bearer "+tokens[held], needed)); got != want {
				t.Errorf("got %q for the scope %s with a token of %s, want %q", got, needed, held, want)
			}
		}
	}
}

func TestWhatIsNoTokenIsUnauthorized(t *testing.T) {
	token, hash := auth.Generate()
	verifier, err := auth.New([]auth.Token{{Name: "a", Scopes: []auth.Scope{auth.Admin}, SHA256: hash}})
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{
		"", "Bearer", "Bearer ", token, "Basic " + token, "Bearer " + hash, "Bearer " + token[1:], "Bearer " + token + "x",
		"Bearer " + strings.Repeat("x", 5000),
	} {
		if got, want := wire.CodeOf(verifier.Check(header, auth.Read)), wire.CodeUnauthorized; got != want {
			t.Errorf("got %q for the header %.40q, want %q", got, header, want)
		}
	}
	if err := verifier.Check("bearer "+token, auth.Read); err != nil {
		t.Errorf("got %v for the scheme in lower case, want none", err)
	}
}

func TestWithoutTokensEverybodyPasses(t *testing.T) {
	none, err := auth.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, verifier := range map[string]*auth.Verifier{"empty": none, "nil": nil} {
		if verifier.Enabled() || verifier.Check("", auth.Admin) != nil {
			t.Errorf("the %s verifier is enabled or refuses", name)
		}
	}
}

func TestBadTokensAreRefused(t *testing.T) {
	_, hash := auth.Generate()
	read := []auth.Scope{auth.Read}
	many := make([]auth.Token, auth.MaxTokens+1)
	tests := map[string]struct {
		tokens []auth.Token
		want   string
	}{
		"no name":       {[]auth.Token{{Scopes: read, SHA256: hash}}, `name ""`},
		"name twice":    {[]auth.Token{{Name: "a", Scopes: read, SHA256: hash}, {Name: "a", Scopes: read, SHA256: hash}}, `name "a"`},
		"no scopes":     {[]auth.Token{{Name: "a", SHA256: hash}}, "no scopes"},
		"unknown scope": {[]auth.Token{{Name: "a", Scopes: []auth.Scope{"root"}, SHA256: hash}}, `unknown scope "root"`},
		"short hash":    {[]auth.Token{{Name: "a", Scopes: read, SHA256: hash[2:]}}, "64 hex digits"},
		"no hex":        {[]auth.Token{{Name: "a", Scopes: read, SHA256: "x" + hash[1:]}}, "64 hex digits"},
		"too many":      {many, "at most 256"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := auth.New(test.tokens); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that says %q", err, test.want)
			}
		})
	}
}

func TestGeneratedTokensDifferAndHash(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		token, hash := auth.Generate()
		if len(token) != len("quipu_")+43 || !strings.HasPrefix(token, "quipu_") || auth.Hash(token) != hash || seen[token] {
			t.Fatalf("got token %q with hash %q, seen before: %v", token, hash, seen[token])
		}
		seen[token] = true
	}
}

// Who asks is the token's name; between Quipu's own processes it is whom they name. Nobody else is believed.
func TestCallerOfARequest(t *testing.T) {
	tokens := map[string]string{}
	var configured []auth.Token
	for name, scope := range map[string]auth.Scope{"ann": auth.Read, "proxy": auth.Internal, "boss": auth.Admin, "sender": auth.Write} {
		token, hash := auth.Generate()
		tokens[name] = token
		configured = append(configured, auth.Token{Name: name, Scopes: []auth.Scope{scope}, SHA256: hash})
	}
	verifier, err := auth.New(configured)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		verifier    *auth.Verifier
		scope       auth.Scope
		by, claimed string
		want        string
	}{
		"a token's":                     {verifier, auth.Read, "ann", "", "ann"},
		"a token's, whatever it claims": {verifier, auth.Read, "ann", "bob", "ann"},
		"an admin's":                    {verifier, auth.SQL, "boss", "bob", "boss"},
		"named by a process":            {verifier, auth.Internal, "proxy", "bob", "bob"},
		"a long name":                   {verifier, auth.Internal, "proxy", strings.Repeat("x", 1000), strings.Repeat("x", 100)},
		"named by nobody":               {verifier, auth.Internal, "proxy", "", ""},
		"of what writes":                {verifier, auth.Write, "sender", "", ""},
		"without tokens, of a process":  {nil, auth.Internal, "", "bob", "bob"},
		"without tokens, of anybody":    {nil, auth.Read, "", "bob", ""},
	} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		if test.by != "" {
			req.Header.Set("Authorization", "Bearer "+tokens[test.by])
		}
		if test.claimed != "" {
			req.Header.Set(wire.HeaderCaller, test.claimed)
		}
		got := "not called"
		serve := test.verifier.Require(test.scope)(func(c echo.Context) error {
			got = wire.CallerOf(c.Request().Context())
			return nil
		})
		if err := serve(echo.New().NewContext(req, httptest.NewRecorder())); err != nil || got != test.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, test.want)
		}
	}
}
