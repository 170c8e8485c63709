package reader_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// canned answers at once: what is left is the reader's own work.
type canned struct {
	ledger
	answer wire.StatsAnswer
}

func (c *canned) Stats(context.Context, *wire.StatsRequest) (*wire.StatsAnswer, error) {
	answer := c.answer
	return &answer, nil
}

func cannedStats(points int) *canned {
	from := now.Truncate(24*60*60e9).Unix() / 60
	c := &canned{answer: wire.StatsAnswer{Keys: []wire.KeyStats{{Key: "v1", Known: true}}, Provenance: wire.Provenance{
		AsOf: now.UnixMilli(), Coverage: wire.Coverage{Partitions: 1, Answered: 1},
		Sources: []wire.Source{{Shard: "s1", Database: "s1-b", Role: "replica", Resolution: "minute", AsOf: now.UnixMilli()}},
	}}}
	for i := range points {
		c.answer.Keys[0].Points = append(c.answer.Keys[0].Points, wire.Point{Start: from + int64(i), Count: 1234, ValueCount: 1234, HasValues: true, Sum: event.SumOf(987654321)})
	}
	return c
}

func BenchmarkStats(b *testing.B) {
	for name, c := range map[string]struct {
		points int
		target string
	}{
		"total":          {1, "/v1/stats?type=view&key=v1&from=2026-01-30T17:00:00Z&to=2026-01-31T17:00:00Z"},
		"minutes of day": {1440, "/v1/stats?type=view&key=v1&function=sum&from=2026-01-31T00:00:00Z&to=2026-02-01T00:00:00Z&step=minute"},
	} {
		b.Run(name, func(b *testing.B) {
			p := cannedStats(c.points)
			r := rigOf(b, &p.ledger, p, nil, nil)
			req := httptest.NewRequest(http.MethodGet, c.target, nil)
			b.ReportAllocs()
			for b.Loop() {
				recorder := httptest.NewRecorder()
				r.echo.ServeHTTP(recorder, req)
				if recorder.Code != 200 {
					b.Fatalf("got %d %s", recorder.Code, recorder.Body)
				}
			}
		})
	}
}
