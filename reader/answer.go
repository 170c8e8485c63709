package reader

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
)

// sendJSON sends a finished body. Counts change from one second to the next, so nothing in between may keep them.
func sendJSON(c echo.Context, body []byte) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.Blob(http.StatusOK, wire.JSONType, body)
}

// sendValue sends a value as JSON.
func sendValue(c echo.Context, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return sendJSON(c, body)
}

// appendProvenance appends the fields of a provenance and closes the object.
func appendProvenance(dst []byte, p *wire.Provenance, waited *bool) ([]byte, error) {
	fields, err := json.Marshal(newProvenance(p, waited))
	if err != nil {
		return nil, fmt.Errorf("encode provenance: %w", err)
	}
	return append(append(dst, ','), fields[1:]...), nil
}
