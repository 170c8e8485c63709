package reader

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

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
	if len(p.Coverage.Missing) == 0 {
		return appendWhole(append(dst, ','), p, waited), nil
	}
	fields, err := json.Marshal(newProvenance(p, waited))
	if err != nil {
		return nil, fmt.Errorf("encode provenance: %w", err)
	}
	return append(append(dst, ','), fields[1:]...), nil
}

// appendWhole is appendProvenance for an answer that lacks nothing, as nearly all do: by hand it takes a tenth of the time.
func appendWhole(dst []byte, p *wire.Provenance, waited *bool) []byte {
	dst = append(appendInstant(append(dst, `"as_of":"`...), p.AsOf), `","stale":`...)
	dst = strconv.AppendBool(dst, p.Stale)
	if waited != nil {
		dst = strconv.AppendBool(append(dst, `,"waited":`...), *waited)
	}
	dst = strconv.AppendInt(append(dst, `,"coverage":{"partitions":`...), int64(p.Coverage.Partitions), 10)
	dst = strconv.AppendInt(append(dst, `,"answered":`...), int64(p.Coverage.Answered), 10)
	dst = append(dst, `,"missing":[]},"sources":[`...)
	for i := range p.Sources {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSource(dst, &p.Sources[i])
	}
	return append(dst, "]}"...)
}

func appendSource(dst []byte, s *wire.Source) []byte {
	dst = appendText(append(dst, `{"shard":`...), s.Shard)
	if s.Database != "" {
		dst = appendText(append(dst, `,"database":`...), s.Database)
	}
	dst = appendText(append(dst, `,"role":`...), s.Role)
	dst = appendText(append(dst, `,"resolution":`...), s.Resolution)
	if s.Role == wire.RoleCold {
		dst = strconv.AppendInt(append(dst, `,"objects":`...), int64(s.Objects), 10)
		dst = strconv.AppendInt(append(dst, `,"cached":`...), int64(s.Cached), 10)
		return append(strconv.AppendInt(append(dst, `,"bytes_read":`...), s.Bytes, 10), '}')
	}
	return append(appendInstant(append(dst, `,"as_of":"`...), s.AsOf), `"}`...)
}
