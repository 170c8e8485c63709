package reader

import (
	"cmp"
	"maps"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

type typesAnswer struct {
	EventTypes []event.Type `json:"event_types"`
}

// getEventTypes serves GET /v1/event-types: the registered types by name.
func (r *Reader) getEventTypes(c echo.Context) (err error) {
	defer func() { r.metrics.answered("event-types", err) }()
	if _, err = parseParams(c.Request()); err != nil {
		return err
	}
	types := r.types()
	if types == nil {
		return wire.NewProblem(wire.CodeUnavailable, "the event types are not known yet").WithRetryAfter(retryAfter)
	}
	list := slices.AppendSeq(make([]event.Type, 0, len(types)), maps.Values(types))
	slices.SortFunc(list, func(a, b event.Type) int { return cmp.Compare(a.Name, b.Name) })
	return sendValue(c, typesAnswer{EventTypes: list})
}
