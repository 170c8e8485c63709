package load

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// reader asks a cluster's readers for counts.
type reader struct {
	client *wire.Client
	urls   []string
	next   atomic.Uint32
}

// asked is a key to be asked for.
type asked struct{ eventType, key string }

// counted is what a reader said of a key, over all time.
type counted struct {
	count int64
	sum   event.Sum
}

type batchRequest struct {
	Queries []batchQuery `json:"queries"`
	Wait    string       `json:"wait,omitempty"`
}

type batchQuery struct {
	Type     string `json:"type"`
	Key      string `json:"key"`
	Function string `json:"function"`
}

type batchAnswer struct {
	Results []struct {
		Key   string    `json:"key"`
		Value event.Sum `json:"value"`
		Error *struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	} `json:"results"`
	AsOf     time.Time `json:"as_of"`
	Stale    bool      `json:"stale"`
	Coverage struct {
		Partitions int `json:"partitions"`
		Answered   int `json:"answered"`
	} `json:"coverage"`
}

// keysPerAsk is how many keys are asked for at once: each takes two queries of the thousand that a reader answers.
const keysPerAsk = 500

// ask returns count and sum of each key, and the instant up to which they are complete.
func (r *reader) ask(ctx context.Context, keys []asked, wait time.Duration) ([]counted, time.Time, error) {
	req := batchRequest{Queries: make([]batchQuery, 0, 2*len(keys))}
	if wait > 0 {
		req.Wait = fmt.Sprintf("%dms", wait.Milliseconds())
	}
	for _, k := range keys {
		req.Queries = append(req.Queries, batchQuery{k.eventType, k.key, "count"}, batchQuery{k.eventType, k.key, "sum"})
	}
	var answer batchAnswer
	url := r.urls[int(r.next.Add(1))%len(r.urls)] + "/v1/stats:batch"
	if err := r.client.JSON(ctx, http.MethodPost, url, req, &answer); err != nil {
		return nil, time.Time{}, fmt.Errorf("ask for %d keys: %w", len(keys), err)
	}
	return answer.read(keys)
}

func (a *batchAnswer) read(keys []asked) ([]counted, time.Time, error) {
	if len(a.Results) != 2*len(keys) {
		return nil, time.Time{}, fmt.Errorf("ask for %d keys: %w", len(keys), wire.NewProblem(wire.CodeInternal, "the reader gave %d results", len(a.Results)))
	}
	out := make([]counted, len(keys))
	for i := range a.Results {
		result := &a.Results[i]
		if result.Error != nil && result.Error.Code == string(wire.CodeUnknownType) {
			continue // nothing of it was counted
		}
		if result.Error != nil {
			problem := wire.NewProblem(wire.Code(result.Error.Code), "%s", result.Error.Message)
			return nil, time.Time{}, fmt.Errorf("ask for %s %q: %w", keys[i/2].eventType, keys[i/2].key, problem)
		}
		if result.Key != keys[i/2].key {
			return nil, time.Time{}, fmt.Errorf("ask for %q: %w", keys[i/2].key, wire.NewProblem(wire.CodeInternal, "the reader answered for %q", result.Key))
		}
		if i%2 == 1 {
			out[i/2].sum = result.Value
			continue
		}
		count, ok := result.Value.Int64()
		if !ok {
			return nil, time.Time{}, fmt.Errorf("ask for %q: %w", result.Key, wire.NewProblem(wire.CodeInternal, "the count %v is beyond 64 bits", result.Value))
		}
		out[i/2].count = count
	}
	if a.Coverage.Answered < a.Coverage.Partitions {
		return nil, time.Time{}, wire.NewProblem(wire.CodeUnavailable, "%d of %d partitions answered", a.Coverage.Answered, a.Coverage.Partitions)
	}
	return out, a.AsOf, nil
}
