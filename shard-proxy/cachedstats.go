package shardproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveStats answers PathStats, from what is kept where that will do.
func (p *Proxy) serveStats(ctx context.Context, c echo.Context) error {
	if err := p.asks.enter(ctx); err != nil {
		return err
	}
	defer p.asks.leave()
	body, err := httpserver.ReadBody(c, maxStatsBytes)
	if err != nil {
		return err
	}
	request := &wire.StatsRequest{}
	if err := httpserver.DecodeJSON(body, request); err != nil {
		return err
	}
	answer, err := p.tellStats(ctx, request)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, wire.JSONType, answer)
}

// tellStats returns the JSON of a wire.StatsAnswer.
func (p *Proxy) tellStats(ctx context.Context, r *wire.StatsRequest) ([]byte, error) {
	if _, err := checkStats(r); err != nil {
		return nil, err
	}
	s, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	if r.Explain || p.cfg.Cache.Bytes < 0 {
		return p.directStats(ctx, r)
	}
	questions, at := askingOf(s, r)
	err = p.find(ctx, questions, r)
	if errors.Is(err, errAskAlone) {
		return p.directStats(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	return p.appendStats(nil, questions, at)
}

// directStats asks a database for this call alone.
func (p *Proxy) directStats(ctx context.Context, r *wire.StatsRequest) ([]byte, error) {
	if err := p.points.enter(ctx); err != nil {
		return nil, err
	}
	defer p.points.leave()
	p.metrics.cache.answered(outcomeDirect, 1)
	answer, err := p.stats(ctx, r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// askingOf returns each key of a request once, and which of them each key is; nil if each is its own.
func askingOf(s *cluster.Snapshot, r *wire.StatsRequest) (questions []asking, at []int) {
	questions = make([]asking, 0, len(r.Keys))
	var places map[string]int
	if len(r.Keys) > 1 {
		places = make(map[string]int, len(r.Keys))
		at = make([]int, 0, len(r.Keys))
	}
	for i, key := range r.Keys {
		if place, twice := places[key]; twice {
			at = append(at, place)
			continue
		}
		a := asking{question: question{kind: r.Type, key: key, from: r.From, to: r.To, step: r.Step}, hash: cluster.KeyHash(r.Type, key)}
		a.partition = cluster.PartitionOf(a.hash, s.Settings.Partitions)
		if i < len(r.Validators) {
			a.validator = r.Validators[i]
		}
		if places != nil {
			places[key] = len(questions)
			at = append(at, len(questions))
		}
		questions = append(questions, a)
	}
	return questions, at
}

// find answers every question.
func (p *Proxy) find(ctx context.Context, questions []asking, r *wire.StatsRequest) error {
	now := time.Now()
	looked := p.look(ctx, questions, p.cfg.Now())
	var missed []*asking
	for i := range questions {
		a := &questions[i]
		refresh := p.judge(a, looked, now, r.MinAsOf)
		if !a.some() {
			missed = append(missed, a)
			continue
		}
		p.given(ctx, a, refresh)
	}
	if len(missed) > 0 {
		if err := p.answerFrom(ctx, missed, p.statsTimeout(), r.MinAsOf, p.loadStats); err != nil {
			return err
		}
	}
	if !coldIsWhole(questions) {
		return errAskAlone
	}
	return nil
}

// given counts a question that is answered with what is kept, and has it asked anew if it is due.
func (p *Proxy) given(ctx context.Context, a *asking, refresh bool) {
	switch {
	case refresh:
		p.flights.refresh(ctx, a.question, p.statsTimeout(), p.loadStats)
		p.metrics.cache.answered(outcomeRefreshed, 1)
	case a.unchanged:
		p.metrics.cache.answered(outcomeUnchanged, 1)
	default:
		p.metrics.cache.answered(outcomeHit, 1)
	}
}

// statsTimeout bounds a query with its wait for a place. Its class bounds it further.
func (p *Proxy) statsTimeout() time.Duration { return max(p.cfg.PointTimeout, p.cfg.SeriesTimeout) }

// coldIsWhole tells whether what cold storage is said to hold is said of exactly these keys and their points. Points that were read before rows became cold
// hold them already: whoever adds them must not be told of objects for another key.
func coldIsWhole(questions []asking) bool {
	given := 0
	var cold *entry
	for i := range questions {
		if e := questions[i].entry; e != nil {
			given++
			if len(e.cold) > 0 {
				cold = e
			}
		}
	}
	if cold == nil {
		return true
	}
	for i := range questions {
		if e := questions[i].entry; e != nil && (len(e.cold) == 0 || &e.cold[0] != &cold.cold[0]) {
			return false
		}
	}
	return given == cold.together
}

// loadStats asks a database for keys of one type, range and step.
func (p *Proxy) loadStats(ctx context.Context, questions []question) (map[question]*entry, error) {
	if err := p.points.enter(ctx); err != nil {
		return nil, err
	}
	defer p.points.leave()
	s, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	q := questions[0]
	request := &mysql.StatsRequest{
		Type: q.kind, From: max(q.from, 0), To: min(q.to, event.MaxMinute+1), Step: steps[q.step],
		MaxPoints: wire.MaxPointsPerStats, MaxColdObjects: wire.MaxColdObjects, Keys: make([]mysql.StatsKey, len(questions)),
	}
	for i := range questions {
		request.Keys[i] = mysql.StatsKey{Partition: s.PartitionOf(q.kind, questions[i].key), Name: questions[i].key}
	}
	begin := time.Now()
	var got *mysql.StatsAnswer
	from, err := p.reading(ctx, func(ctx context.Context, db *mysql.DB) (err error) {
		ctx, done := p.within(ctx, classOfStats(&wire.StatsRequest{Step: q.step}))
		defer done()
		got, err = db.Stats(ctx, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	stale := p.tide.observe(got.Term, got.AsOf) || from.stale
	p.metrics.read(from, stale)
	cold := p.coldParts(got.Cold)
	entries := make(map[question]*entry, len(questions))
	for i := range questions {
		e := entryOf(&questions[i], &got.Keys[i], request.Keys[i].Partition, &got.Header)
		e.database, e.role, e.stale, e.fetched = from.ID, string(from.Role), stale, begin
		if e.body, err = openKeyStats(&questions[i], &got.Keys[i]); err != nil {
			return nil, err
		}
		e.cold, e.together, e.lasting = cold, len(questions), e.closed && len(cold) == 0
		if len(cold) == 0 || len(questions) == 1 {
			p.cache.add(questions[i], e)
		}
		entries[questions[i]] = e
	}
	return entries, nil
}

func entryOf(q *question, stats *mysql.KeyStats, partition int, h *mysql.Header) *entry {
	e := &entry{term: h.Term, asOf: h.AsOf[partition], resolution: h.Resolution, points: len(stats.Points), places: make([]place, 1)}
	at := &e.places[0]
	at.partition, at.read, at.asOf = partition, h.NextOffset[partition], e.asOf
	at.seen.Store(at.read)
	e.closed = stats.Known && isClosed(e.asOf, q.to)
	return e
}

// openKeyStats returns the JSON of a key's points without its end.
func openKeyStats(q *question, stats *mysql.KeyStats) ([]byte, error) {
	body, err := json.Marshal(keyStats(q.key, *stats, &wire.StatsRequest{From: q.from, Step: q.step}))
	if err != nil {
		return nil, fmt.Errorf("encode points: %w", err)
	}
	return body[:len(body)-1], nil
}

// appendStats appends the JSON of the answer to questions, in the order of at.
func (p *Proxy) appendStats(dst []byte, questions []asking, at []int) ([]byte, error) {
	size, points := 512, 0
	for i := range questions {
		if e := questions[i].entry; e != nil {
			size, points = size+len(e.body)+96, points+e.points
		}
	}
	if points > wire.MaxPointsPerStats {
		return nil, problemOf(fmt.Errorf("%d, more than %d: %w", points, wire.MaxPointsPerStats, mysql.ErrTooManyPoints))
	}
	dst = append(slices.Grow(dst, size), `{"keys":[`...)
	if at == nil {
		dst = p.appendKey(dst, &questions[0])
	}
	for i, place := range at {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = p.appendKey(dst, &questions[place])
	}
	dst = append(dst, ']')
	var err error
	if e := withCold(questions); e != nil {
		if dst, err = appendField(dst, "cold", e.cold); err != nil {
			return nil, err
		}
	}
	return p.appendProvenance(dst, questions)
}

// withCold returns an entry that tells what is in cold storage, for all that were read together.
func withCold(questions []asking) *entry {
	for i := range questions {
		if e := questions[i].entry; e != nil && len(e.cold) > 0 {
			return e
		}
	}
	return nil
}

func appendField(dst []byte, name string, value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return append(dst, text...), nil
}

func (p *Proxy) appendKey(dst []byte, a *asking) []byte {
	if a.entry != nil {
		dst = append(dst, a.entry.body...)
	} else {
		dst = append(dst, `{"key":`...)
		dst = appendText(dst, a.key)
		dst = append(dst, `,"known":true,"points":null,"unchanged":true`...)
	}
	if a.offset > 0 {
		dst = append(dst, `,"validator":"`...)
		dst = validator{p.cfg.ShardID, a.term, a.offset, a.partition}.appendTo(dst)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendText appends a text as JSON.
func appendText(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(text) // a string always has a JSON form
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), text...), '"')
}

// appendProvenance appends what the answer is, and ends it.
func (p *Proxy) appendProvenance(dst []byte, questions []asking) ([]byte, error) {
	out := wire.Provenance{AsOf: questions[0].asOf}
	partitions := make([]int, 0, 8)
	for i := range questions {
		a := &questions[i]
		out.AsOf, out.Stale = min(out.AsOf, a.asOf), out.Stale || a.stale
		partitions = addNew(partitions, a.partition)
		out.Sources = p.addSource(out.Sources, a)
	}
	out.Coverage.Partitions, out.Coverage.Answered = len(partitions), len(partitions)
	for i := range out.Sources {
		out.Sources[i].AsOf = max(out.Sources[i].AsOf, out.AsOf)
	}
	dst = append(dst, `,"as_of_ms":`...)
	dst = strconv.AppendInt(dst, out.AsOf, 10)
	dst = append(dst, `,"stale":`...)
	dst = strconv.AppendBool(dst, out.Stale)
	dst = append(dst, `,"coverage":{"partitions":`...)
	dst = strconv.AppendInt(dst, int64(out.Coverage.Partitions), 10)
	dst = append(dst, `,"answered":`...)
	dst = strconv.AppendInt(dst, int64(out.Coverage.Answered), 10)
	dst = append(dst, `},"sources":[`...)
	for i, s := range out.Sources {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSource(dst, s)
	}
	return append(dst, "]}"...), nil
}

func appendSource(dst []byte, s wire.Source) []byte {
	dst = appendText(append(dst, `{"shard":`...), s.Shard)
	dst = appendText(append(dst, `,"database":`...), s.Database)
	dst = appendText(append(dst, `,"role":`...), s.Role)
	dst = appendText(append(dst, `,"resolution":`...), s.Resolution)
	dst = append(dst, `,"as_of_ms":`...)
	return append(strconv.AppendInt(dst, s.AsOf, 10), '}')
}

func addNew(list []int, value int) []int {
	for _, has := range list {
		if has == value {
			return list
		}
	}
	return append(list, value)
}

// addSource adds where an answer is from, with the oldest as-of of what is from there.
func (p *Proxy) addSource(sources []wire.Source, a *asking) []wire.Source {
	s := wire.Source{Shard: p.cfg.ShardID, Role: wire.RoleCache, AsOf: a.asOf}
	if e := a.entry; e != nil {
		s.Database, s.Resolution = e.database, e.resolution
		if !a.cached {
			s.Role = e.role
		}
	}
	for i := range sources {
		has := &sources[i]
		if has.Database == s.Database && has.Role == s.Role && has.Resolution == s.Resolution {
			has.AsOf = min(has.AsOf, s.AsOf)
			return sources
		}
	}
	return append(sources, s)
}
