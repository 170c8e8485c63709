package ingest

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// postEvents serves POST /v1/events.
func (i *Ingest) postEvents(c echo.Context) error {
	r := i.requests.Get().(*request)
	settled, err := i.accept(c, r)
	if settled && r.reusable() {
		i.requests.Put(r)
	}
	if err != nil {
		code := wire.CodeOf(err)
		if code == "" {
			code = wire.CodeInternal
		}
		i.metrics.refused.WithLabelValues(string(code)).Inc()
	}
	return err
}

// noParameters refuses query parameters: none is known, and a misplaced one must not be ignored in silence.
func noParameters(req *http.Request) error {
	if req.URL.RawQuery == "" {
		return nil
	}
	name, _, _ := strings.Cut(req.URL.RawQuery, "&")
	name, _, _ = strings.Cut(name, "=")
	if text, err := url.QueryUnescape(name); err == nil {
		name = text
	}
	return wire.NewProblem(wire.CodeBadRequest, "unknown parameter %.64q: this call takes none", name).WithField(name)
}

// accept handles one request. settled is false when the log may still refer to r.
func (i *Ingest) accept(c echo.Context, r *request) (settled bool, err error) {
	i.active.Add(1)
	defer func() {
		if i.active.Add(-1) == 0 {
			signal(i.idle)
		}
	}()
	if err := i.open(); err != nil {
		return true, err
	}
	if err := noParameters(c.Request()); err != nil {
		return true, err
	}
	defer func() {
		if r.fate.Load() != fateAbandoned {
			r.giveBack()
		}
	}()
	if r.body, r.taken, err = i.bodies.read(c.Request(), r.body); err != nil {
		return true, err
	}
	if err := i.parse(c.Request(), r); err != nil {
		return true, err
	}
	accepted, settled, err := i.commit(c, r)
	if err != nil {
		return settled, err
	}
	i.metrics.accepted.Add(float64(accepted))
	for n := range r.parser.rejected {
		i.metrics.rejected.WithLabelValues(r.parser.rejected[n].code).Inc()
	}
	r.answer = appendAnswer(r.answer[:0], accepted, r.parser.rejected)
	response := c.Response()
	response.Header()["Content-Type"] = i.jsonType
	response.WriteHeader(http.StatusAccepted)
	_, _ = response.Write(r.answer) // a caller that went away needs no answer
	return true, nil
}

// open tells why no events are taken just now.
func (i *Ingest) open() error {
	if i.draining.Err() != nil {
		return stopping()
	}
	if !i.ready.Load() {
		return wire.NewProblem(wire.CodeUnavailable, "ingest is starting").WithRetryAfter(time.Second)
	}
	return nil
}

// parse checks the body and every event in it.
func (i *Ingest) parse(req *http.Request, r *request) error {
	form, known := shapeOf(req.Header.Get("Content-Type"))
	key := req.Header.Get("Idempotency-Key")
	if err := checkIdempotencyKey(key); err != nil {
		return err
	}
	types := i.cfg.Types()
	if types == nil {
		return wire.NewProblem(wire.CodeUnavailable, "the event types are not known yet").WithRetryAfter(time.Second)
	}
	now, err := i.cfg.Log.Now()
	if err != nil {
		return wire.NewProblem(wire.CodeUnavailable, "the log's clock can't be kept").WithRetryAfter(time.Second).WithCause(err)
	}
	err = r.parser.parse(r.body, form, rules{
		types: types, partitions: len(i.lanes), fingerprinter: i.cfg.Fingerprinter, now: now, ahead: i.cfg.AcceptAhead, late: i.cfg.AcceptLate,
		maxEvents: i.cfg.MaxEvents, idempotencyKey: key,
	})
	if err != nil {
		return bodyProblem(err, known, req)
	}
	if key == "" {
		return nil
	}
	return i.seen.check(key, r.body)
}

// bodyProblem is the answer to a body that is refused as a whole.
func bodyProblem(err error, knownType bool, req *http.Request) error {
	if tooMany, ok := errors.AsType[*tooManyEvents](err); ok {
		return wire.NewProblem(wire.CodeTooLarge, "%v", tooMany)
	}
	syntax, ok := errors.AsType[*syntaxError](err)
	if !ok {
		return err
	}
	if syntax.offset == 0 && !knownType {
		return wire.NewProblem(wire.CodeMediaType, "content type %q is not known and the body is not JSON; application/json and application/x-ndjson are",
			req.Header.Get("Content-Type")).WithField("Content-Type")
	}
	p := wire.NewProblem(wire.CodeBadRequest, "%v", syntax)
	offset := int64(syntax.offset)
	p.ByteOffset = &offset
	return p
}

// commit hands the events to their partitions and waits until the fate of each is known. If the caller's time ends first, it is
// not, and settled is false.
func (i *Ingest) commit(c echo.Context, r *request) (accepted int, settled bool, err error) {
	if len(r.parser.entries) == 0 {
		return 0, true, nil
	}
	if !i.window.admit(r.parser.withID, r.parser.now) {
		return 0, true, wire.NewProblem(wire.CodeWindowFull, "the de-duplication window holds as many event ids as it may").WithRetryAfter(retryFullWindow)
	}
	r.split(len(i.lanes))
	r.left.Store(int32(len(r.parts)))
	r.fate.Store(fateOpen)
	for n := range r.parts {
		i.lanes[r.parts[n].partition].add(r, n)
	}
	r.timer.Reset(i.cfg.AppendTimeout)
	defer r.timer.Stop()
	select {
	case <-r.done:
		accepted, err = r.conclude()
		return accepted, true, err
	case <-c.Request().Context().Done():
		err = c.Request().Context().Err()
	case <-r.timer.C:
	}
	if !r.abandon() { // it was settled just now
		<-r.done
		accepted, err = r.conclude()
		return accepted, true, err
	}
	return 0, false, wire.NewProblem(wire.CodeDeadline, "the log did not answer in time: the events may be accepted or not; those with an id can safely be sent again").
		WithRetryAfter(time.Second).WithCause(err)
}

type eventTypes struct {
	EventTypes []event.Type `json:"event_types"`
}

// getEventTypes serves GET /v1/event-types: the registered types by name.
func (i *Ingest) getEventTypes(c echo.Context) error {
	if err := noParameters(c.Request()); err != nil {
		return err
	}
	types := i.cfg.Types()
	if types == nil {
		return wire.NewProblem(wire.CodeUnavailable, "the event types are not known yet").WithRetryAfter(time.Second)
	}
	list := slices.AppendSeq(make([]event.Type, 0, len(types)), maps.Values(types))
	slices.SortFunc(list, func(a, b event.Type) int { return cmp.Compare(a.Name, b.Name) })
	return c.JSON(http.StatusOK, eventTypes{EventTypes: list})
}
