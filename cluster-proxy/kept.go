package clusterproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveKept passes questions of one key each on to the shards of the keys, and what these keep of them back, in order. Whatever can't be had is null.
func (p *Proxy) serveKept(ctx context.Context, c echo.Context) error {
	body, err := httpserver.ReadBody(c, maxJSONBytes)
	if err != nil {
		return err
	}
	s, err := p.snapshot()
	if err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSuffix(body, newline), newline)
	if len(lines) > wire.MaxKept {
		return wire.NewProblem(wire.CodeBadRequest, "%d questions, must be 1 to %d", len(lines), wire.MaxKept)
	}
	shards, places := byShard(s, lines)
	answers := make([][]byte, len(lines))
	each(shards, func(one part) {
		p.askKept(ctx, one, lines, answers)
	})
	out := make([]byte, 0, 16<<10)
	for i := range answers {
		answer := answers[i]
		if !places[i] || !bytes.HasPrefix(answer, toldKey) {
			answer = null
		}
		out = append(append(out, answer...), '\n')
	}
	return c.Blob(http.StatusOK, wire.LinesType, out)
}

var newline, null = []byte("\n"), []byte("null")

// byShard divides questions by the shard of their key. Those that make no sense are nobody's.
func byShard(s *cluster.Snapshot, lines [][]byte) (parts []part, asked []bool) {
	asked = make([]bool, len(lines))
	for i, line := range lines {
		var r struct {
			Type string   `json:"type"`
			Keys []string `json:"keys"`
		}
		if json.Unmarshal(line, &r) != nil || len(r.Keys) != 1 {
			continue
		}
		shard, ok := s.ShardOf(s.PartitionOf(r.Type, r.Keys[0]))
		if !ok {
			continue
		}
		asked[i] = true
		at := slices.IndexFunc(parts, func(p part) bool { return p.shard == shard })
		if at < 0 {
			at = len(parts)
			parts = append(parts, part{shard: shard})
		}
		parts[at].items = append(parts[at].items, i)
	}
	return parts, asked
}

// askKept asks one shard and fills in its answers. A failure leaves them out: whoever asked will ask alone, and learn why.
func (p *Proxy) askKept(ctx context.Context, one part, lines, answers [][]byte) {
	var body []byte
	for _, i := range one.items {
		body = append(append(body, lines[i]...), '\n')
	}
	got, err := p.askRaw(ctx, "kept", one.shard, wire.PathKept, wire.LinesType, body)
	if err != nil {
		return
	}
	told := bytes.Split(bytes.TrimSuffix(got, newline), newline)
	if len(told) != len(one.items) {
		return
	}
	for n, i := range one.items {
		answers[i] = told[n]
	}
}
