// Package auth lets requests in by bearer token. Tokens carry scopes; admin implies every other scope.
//
// Only the SHA-256 of a token is ever configured or kept. A plain hash is right here, and a slow one would not help: a token is
// 256 random bits, so there is no dictionary to try and nothing that a second token's hash could reveal. A presented token
// is hashed and compared with every known hash in constant time, so timing tells nothing of which bytes agree.
//
// A Verifier is immutable and safe for concurrent use.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
)

// Scope is what a token allows.
type Scope string

// The scopes.
const (
	Write    Scope = "write"    // send events
	Read     Scope = "read"     // ask for counts, metrics
	SQL      Scope = "sql"      // SQL of people
	Admin    Scope = "admin"    // everything
	Internal Scope = "internal" // calls between Quipu's own processes
)

// Scopes lists every scope.
func Scopes() []Scope { return []Scope{Write, Read, SQL, Admin, Internal} }

// MaxTokens bounds how many tokens a process compares each request with.
const MaxTokens = 256

// tokenPrefix makes tokens recognisable to people and to scanners for leaked secrets.
const tokenPrefix = "quipu_"

// maxTokenBytes bounds what is hashed for a presented token.
const maxTokenBytes = 256

// Token is one configured token.
type Token struct {
	Name   string
	Scopes []Scope
	SHA256 string // 64 hex digits
}

// Generate returns a new random token and its hash for the configuration.
func Generate() (token, hash string) {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	return token, Hash(token)
}

// Hash returns the SHA-256 of a token in hex, as Token wants it.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

type entry struct {
	name   string
	hash   [sha256.Size]byte
	scopes map[Scope]bool
}

// Verifier knows the tokens of a process. A nil Verifier has none.
type Verifier struct{ entries []entry }

// New checks the tokens and returns their verifier. No tokens at all means that everybody is let in.
func New(tokens []Token) (*Verifier, error) {
	if len(tokens) > MaxTokens {
		return nil, fmt.Errorf("check tokens: %d of them, at most %d", len(tokens), MaxTokens)
	}
	v := &Verifier{entries: make([]entry, 0, len(tokens))}
	names := make(map[string]bool, len(tokens))
	for i, t := range tokens {
		if t.Name == "" || names[t.Name] {
			return nil, fmt.Errorf("check token %d: name %q is empty or used twice", i, t.Name)
		}
		names[t.Name] = true
		e, err := newEntry(t)
		if err != nil {
			return nil, fmt.Errorf("check token %q: %w", t.Name, err)
		}
		v.entries = append(v.entries, e)
	}
	return v, nil
}

func newEntry(t Token) (entry, error) {
	hash, err := hex.DecodeString(t.SHA256)
	if err != nil || len(hash) != sha256.Size {
		return entry{}, fmt.Errorf("sha256 must be %d hex digits", 2*sha256.Size)
	}
	if len(t.Scopes) == 0 {
		return entry{}, fmt.Errorf("no scopes, want some of %v", Scopes())
	}
	e := entry{name: t.Name, hash: [sha256.Size]byte(hash), scopes: make(map[Scope]bool, len(t.Scopes))}
	for _, s := range t.Scopes {
		if !slices.Contains(Scopes(), s) {
			return entry{}, fmt.Errorf("unknown scope %q, want one of %v", s, Scopes())
		}
		e.scopes[s] = true
	}
	return e, nil
}

// Enabled tells whether any token is configured.
func (v *Verifier) Enabled() bool { return v != nil && len(v.entries) > 0 }

// Require returns the middleware that lets requests pass whose token has the scope, and notes its name as their caller (wire.CallerOf); of the scope
// internal, the name that came along. Without tokens all pass. Requests that write have no caller: at their rate it would show.
func (v *Verifier) Require(scope Scope) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		if !v.Enabled() && scope != Internal {
			return next
		}
		return func(c echo.Context) error {
			req := c.Request()
			caller, err := v.caller(req.Header.Get(echo.HeaderAuthorization), scope)
			if err != nil {
				return err
			}
			if scope == Internal {
				caller = req.Header.Get(wire.HeaderCaller)
			}
			if caller != "" && scope != Write {
				c.SetRequest(req.WithContext(wire.WithCaller(req.Context(), bounded(caller))))
			}
			return next(c)
		}
	}
}

// maxCallerBytes bounds the name of a caller.
const maxCallerBytes = 100

func bounded(name string) string { return name[:min(len(name), maxCallerBytes)] }

// Check tells whether the value of an Authorization header grants a scope: nil, or a *wire.Problem unauthorized or forbidden.
func (v *Verifier) Check(authorization string, scope Scope) error {
	_, err := v.caller(authorization, scope)
	return err
}

// caller returns the name of the token that grants a scope.
func (v *Verifier) caller(authorization string, scope Scope) (string, error) {
	if !v.Enabled() {
		return "", nil
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxTokenBytes {
		return "", wire.NewProblem(wire.CodeUnauthorized, "send a token: Authorization: Bearer <token>")
	}
	found := v.find(sha256.Sum256([]byte(token)))
	if found == nil {
		return "", wire.NewProblem(wire.CodeUnauthorized, "unknown token")
	}
	if !found.scopes[scope] && !found.scopes[Admin] {
		return "", wire.NewProblem(wire.CodeForbidden, "the token lacks the scope %q", scope)
	}
	return found.name, nil
}

// find looks at every entry, whether or not an earlier one agreed.
func (v *Verifier) find(hash [sha256.Size]byte) *entry {
	at := -1
	for i := range v.entries {
		if subtle.ConstantTimeCompare(hash[:], v.entries[i].hash[:]) == 1 {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	return &v.entries[at]
}
