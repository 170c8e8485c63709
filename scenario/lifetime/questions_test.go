package lifetime_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/quipudb/quipu/event"
)

// question is a range of a key, by step or as one value.
type question struct {
	kind, key string
	from, to  int64 // minutes
	step      int64 // 0: one value
}

var stepNames = map[int64]string{1: "minute", 60: "hour", 1440: "day"}

func (q question) String() string {
	return fmt.Sprintf("%s of %s from %s to %s by %q", q.kind, q.key, instant(q.from), instant(q.to), stepNames[q.step])
}

func instant(minute int64) string { return time.Unix(minute*60, 0).UTC().Format(time.RFC3339) }

// functions are what is asked of each question.
func functions(kind string) []string {
	if types[kind].AllowNegative {
		return []string{"count", "sum"}
	}
	return []string{"count", "sum", "min", "max"}
}

type batchAnswer struct {
	Results []struct {
		Value  json.RawMessage `json:"value"`
		Points []struct {
			Start time.Time       `json:"start"`
			Value json.RawMessage `json:"value"`
		} `json:"points"`
		Error json.RawMessage `json:"error"`
	} `json:"results"`
	Stale    bool `json:"stale"`
	Coverage struct {
		Missing []any `json:"missing"`
	} `json:"coverage"`
	Sources []source `json:"sources"`
}

type source struct {
	Database string `json:"database"`
	Role     string `json:"role"`
}

// ask compares the reader's answers to questions with the model's.
func (l *life) ask(questions []question) error {
	type query map[string]string
	var queries []query
	for _, q := range questions {
		for _, f := range functions(q.kind) {
			item := query{"type": q.kind, "key": q.key, "function": f, "from": instant(q.from), "to": instant(q.to)}
			if q.step > 0 {
				item["step"] = stepNames[q.step]
			}
			queries = append(queries, item)
		}
	}
	body, err := json.Marshal(map[string]any{"queries": queries})
	if err != nil {
		return err
	}
	var answer batchAnswer
	if err := l.answerOfPrimaryIfStalled(&answer, http.MethodPost, "/v1/stats:batch", body); err != nil {
		return err
	}
	if len(answer.Results) != len(queries) || len(answer.Coverage.Missing) > 0 {
		return fmt.Errorf("%d results of %d, missing %v", len(answer.Results), len(queries), answer.Coverage.Missing)
	}
	i := 0
	for _, q := range questions {
		want := l.model.series(q.kind, q.key, q.from, q.to, q.step)
		for _, f := range functions(q.kind) {
			result := &answer.Results[i]
			i++
			if result.Error != nil {
				return fmt.Errorf("%s %s: %s", f, q, result.Error)
			}
			got := map[int64]string{}
			if q.step == 0 {
				got[q.from] = string(result.Value)
			}
			for _, p := range result.Points {
				got[p.Start.Unix()/60] = string(p.Value)
			}
			if err := compare(q, f, got, want); err != nil {
				return fmt.Errorf("%w\nsources %+v", err, answer.Sources)
			}
		}
	}
	return nil
}

func compare(q question, function string, got map[int64]string, want map[int64]event.Aggregate) error {
	points := int64(1)
	if q.step > 0 {
		points = (q.to - q.from) / q.step
	}
	if int64(len(got)) != points {
		return fmt.Errorf("%s %s: %d points, want %d", function, q, len(got), points)
	}
	for start, value := range got {
		a, ok := want[start]
		if !ok {
			a = event.NewAggregate()
		}
		if expected := valueOf(function, a); value != expected {
			return fmt.Errorf("%s %s: at %s it is %s, want %s", function, q, instant(start), value, expected)
		}
	}
	return nil
}

func valueOf(function string, a event.Aggregate) string {
	switch {
	case function == "count":
		return strconv.FormatInt(a.Count, 10)
	case function == "sum" && !a.HasValues:
		return "0"
	case function == "sum":
		return a.Sum.String()
	case !a.HasValues:
		return "null"
	case function == "min":
		return strconv.FormatInt(a.Min, 10)
	}
	return strconv.FormatInt(a.Max, 10)
}

// answerOfPrimaryIfStalled asks until the answer does not come from a replica that is kept in an old state on purpose.
func (l *life) answerOfPrimaryIfStalled(into *batchAnswer, method, target string, body []byte) error {
	for deadline := time.Now().Add(patience); ; {
		*into = batchAnswer{}
		status, text := l.call(method, target, body)
		if status != http.StatusOK {
			return fmt.Errorf("%s %s: %d %s", method, target, status, text)
		}
		if err := json.Unmarshal(text, into); err != nil {
			return err
		}
		old := l.data.stalled && slices.ContainsFunc(into.Sources, func(s source) bool { return s.Database == l.data.replica })
		if !old {
			if slices.ContainsFunc(into.Sources, func(s source) bool { return s.Role == "cold" }) {
				l.did["answers with cold parts"]++
			}
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the replica is read, although it lags by a minute: %s", text)
		}
	}
}

func (l *life) call(method, target string, body []byte) (status int, text []byte) {
	request := httptest.NewRequest(method, target, bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	l.reader.ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.Bytes()
}

type topAnswer struct {
	Entries []struct {
		Key   string `json:"key"`
		Count int64  `json:"count"`
	} `json:"entries"`
	Exact   bool `json:"exact"`
	Sources []struct {
		Database string `json:"database"`
	} `json:"sources"`
}

// askTop compares a ranking: the counts of those in it are always exact, and if it says that it is, so are the places.
func (l *life) askTop(kind string, from, to int64, n int) error {
	target := "/v1/top?" + url.Values{"type": {kind}, "from": {instant(from)}, "to": {instant(to)}, "n": {strconv.Itoa(n)}}.Encode()
	for deadline := time.Now().Add(patience); ; {
		status, text := l.call(http.MethodGet, target, nil)
		if status == http.StatusUnprocessableEntity {
			return nil // the range's ragged ends are in cold storage
		}
		if status != http.StatusOK {
			return fmt.Errorf("%s: %d %s", target, status, text)
		}
		var answer topAnswer
		if err := json.Unmarshal(text, &answer); err != nil {
			return err
		}
		if l.data.stalled && answer.Sources[0].Database == l.data.replica && time.Now().Before(deadline) {
			continue
		}
		l.rankings++
		if answer.Exact {
			l.exactRankings++
		}
		return l.compareTop(&answer, kind, from, to, n, target)
	}
}

func (l *life) compareTop(answer *topAnswer, kind string, from, to int64, n int, target string) error {
	want := l.model.ranking(kind, from, to)
	counts := map[string]int64{}
	for _, r := range want {
		counts[r.key] = r.count
	}
	for i, e := range answer.Entries {
		if e.Count != counts[e.Key] {
			return fmt.Errorf("%s: %s has %d, want %d", target, e.Key, e.Count, counts[e.Key])
		}
		if answer.Exact && (i >= len(want) || want[i].key != e.Key) {
			return fmt.Errorf("%s: exact, but place %d is %s, want %v", target, i+1, e.Key, want[:min(n, len(want))])
		}
	}
	if answer.Exact && len(answer.Entries) < min(n, len(want)) {
		return fmt.Errorf("%s: exact with %d entries, want %d", target, len(answer.Entries), min(n, len(want)))
	}
	return nil
}
