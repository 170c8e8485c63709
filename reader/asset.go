package reader

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

//go:embed openapi.json
var openAPI []byte

//go:embed console.html
var consolePage []byte

// Document returns the OpenAPI 3.1 document of the public API.
func Document() []byte { return bytes.Clone(openAPI) }

// asset is an embedded file, served with a validator so that a browser keeps it until a new build.
type asset struct {
	body        []byte
	contentType string
	etag        string
	policy      string // Content-Security-Policy
}

func documentAsset() asset {
	return asset{body: openAPI, contentType: "application/json", etag: etagOf(openAPI), policy: "default-src 'none'"}
}

// consoleAsset allows the page its own script and style and calls to where it came from, nothing else.
func consoleAsset() asset {
	policy := "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
		"; script-src '" + hashOf(consolePage, "script") + "'; style-src '" + hashOf(consolePage, "style") + "'"
	return asset{body: consolePage, contentType: "text/html; charset=utf-8", etag: etagOf(consolePage), policy: policy}
}

func etagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// hashOf returns the policy source of the one inline element of that name.
func hashOf(page []byte, element string) string {
	_, rest, _ := strings.Cut(string(page), "<"+element+">")
	inner, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(inner))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (a asset) serve(c echo.Context) error {
	h := c.Response().Header()
	h.Set("ETag", a.etag)
	h.Set(echo.HeaderCacheControl, "no-cache")
	h.Set(echo.HeaderContentSecurityPolicy, a.policy)
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	h.Set(echo.HeaderReferrerPolicy, "no-referrer")
	if c.Request().Header.Get("If-None-Match") == a.etag {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, a.contentType, a.body)
}
