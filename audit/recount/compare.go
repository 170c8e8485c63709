package recount

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/quipudb/quipu/wire"
)

// ReaderConfig says whom to ask.
type ReaderConfig struct {
	URL    string // base address of a reader
	Client *wire.Client
	Wait   time.Duration // how long a reader may wait until everything accepted before is counted; 20 s
}

// Reader asks what the cluster counted.
type Reader struct{ cfg ReaderConfig }

// NewReader does no I/O.
func NewReader(cfg ReaderConfig) *Reader {
	if cfg.Wait <= 0 {
		cfg.Wait = 20 * time.Second
	}
	return &Reader{cfg: cfg}
}

// Difference is a key of which the recount and the cluster do not say the same.
type Difference struct {
	Key, Function     string
	Recounted, Counts string // "none" where there is no value
}

func (d Difference) String() string {
	return fmt.Sprintf("%q: %s is %s by the raw events, %s by the cluster", d.Key, d.Function, d.Recounted, d.Counts)
}

// functions are what is compared; the last two only where the type offers them.
func functions() []string { return []string{"count", "sum", "min", "max"} }

// keysPerAsk bounds one question: a reader answers a thousand queries of 1 MiB at once.
const keysPerAsk = 100

// Compare asks for every key, and lists what differs.
func (r *Reader) Compare(ctx context.Context, q *Range, totals map[string]*Total) ([]Difference, error) {
	keys := slices.Sorted(maps.Keys(totals))
	var different []Difference
	for chunk := range slices.Chunk(keys, keysPerAsk) {
		answers, err := r.ask(ctx, q, chunk)
		if err != nil {
			return nil, fmt.Errorf("ask a reader for %d keys: %w", len(chunk), err)
		}
		for i, key := range chunk {
			different = append(different, differences(key, totals[key], answers[i])...)
		}
	}
	return different, nil
}

// told is what a reader says of a key, by function; without those that the type does not offer.
type told map[string]string

const none = "none"

func differences(key string, t *Total, answer told) (different []Difference) {
	want := told{"count": fmt.Sprint(t.Count), "sum": t.Sum.String(), "min": none, "max": none}
	if t.Values {
		want["min"], want["max"] = fmt.Sprint(t.Min), fmt.Sprint(t.Max)
	}
	for _, function := range functions() {
		if got, offered := answer[function]; offered && got != want[function] {
			different = append(different, Difference{Key: key, Function: function, Recounted: want[function], Counts: got})
		}
	}
	return different
}

type question struct {
	Type    string  `json:"type"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Wait    string  `json:"wait"`
	Queries []query `json:"queries"`
}

type query struct {
	Key      string `json:"key"`
	Function string `json:"function"`
}

type answer struct {
	Results []struct {
		Value json.RawMessage `json:"value"`
		Error *struct {
			Code    wire.Code `json:"code"`
			Message string    `json:"message"`
		} `json:"error"`
	} `json:"results"`
	Waited   *bool `json:"waited"`
	Coverage struct {
		Partitions int `json:"partitions"`
		Answered   int `json:"answered"`
	} `json:"coverage"`
}

func (r *Reader) ask(ctx context.Context, q *Range, keys []string) ([]told, error) {
	request := question{
		Type: q.Type, From: q.From.UTC().Format(time.RFC3339), To: q.To.UTC().Format(time.RFC3339), Wait: fmt.Sprintf("%dms", r.cfg.Wait.Milliseconds()),
	}
	for _, key := range keys {
		for _, function := range functions() {
			request.Queries = append(request.Queries, query{Key: key, Function: function})
		}
	}
	var a answer
	if err := r.cfg.Client.JSON(ctx, http.MethodPost, strings.TrimRight(r.cfg.URL, "/")+"/v1/stats:batch", &request, &a); err != nil {
		return nil, err
	}
	switch {
	case len(a.Results) != len(request.Queries):
		return nil, wire.NewProblem(wire.CodeInternal, "the reader gave %d results to %d queries", len(a.Results), len(request.Queries))
	case a.Waited == nil || !*a.Waited:
		return nil, wire.NewProblem(wire.CodeUnavailable, "not everything is counted yet after %s: ask again later", r.cfg.Wait)
	case a.Coverage.Answered < a.Coverage.Partitions:
		return nil, wire.NewProblem(wire.CodeUnavailable, "%d of %d partitions answered", a.Coverage.Answered, a.Coverage.Partitions)
	}
	return a.read(keys)
}

func (a *answer) read(keys []string) ([]told, error) {
	all := make([]told, len(keys))
	for i := range all {
		all[i] = told{}
	}
	for i := range a.Results {
		result, function := &a.Results[i], functions()[i%len(functions())]
		if e := result.Error; e != nil {
			if e.Code == wire.CodeUnprocessable {
				continue
			}
			return nil, wire.NewProblem(e.Code, "%s", e.Message)
		}
		text := none
		if raw := strings.TrimSpace(string(result.Value)); raw != "null" && raw != "" {
			value, ok := new(big.Int).SetString(raw, 10)
			if !ok {
				return nil, wire.NewProblem(wire.CodeInternal, "the reader gave the value %s for %s", raw, function)
			}
			text = value.String()
		}
		all[i/len(functions())][function] = text
	}
	return all, nil
}
