package reader_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/event"
)

// recount computes a value from the events themselves, with big numbers and no code of the reader. "" stands for null.
func recount(events []event.Event, fn, key string, from, to int64) string {
	count, weights, sum := new(big.Int), new(big.Int), new(big.Int)
	var low, high *big.Int
	for _, e := range events {
		if e.Type != "view" || e.Key != key || e.TimeMs < from || e.TimeMs >= to {
			continue
		}
		w, v := big.NewInt(e.Weight), big.NewInt(e.Value)
		count.Add(count, w)
		if !e.HasValue {
			continue
		}
		weights.Add(weights, w)
		sum.Add(sum, new(big.Int).Mul(w, v))
		if low == nil || v.Cmp(low) < 0 {
			low = v
		}
		if high == nil || v.Cmp(high) > 0 {
			high = v
		}
	}
	orNull := func(v *big.Int) string {
		if v == nil {
			return ""
		}
		return v.String()
	}
	switch fn {
	case "count":
		return count.String()
	case "sum":
		return sum.String()
	case "min":
		return orNull(low)
	case "max":
		return orNull(high)
	}
	if weights.Sign() == 0 {
		return ""
	}
	f, _ := new(big.Rat).SetFrac(sum, weights).Float64()
	return fmt.Sprint(f)
}

var drawEvent = rapid.Custom(func(t *rapid.T) event.Event {
	return event.Event{
		Type: "view", Key: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), Weight: rapid.Int64Range(1, event.MaxWeight).Draw(t, "weight"),
		TimeMs:   now.Add(-time.Duration(rapid.Int64Range(0, 3*24*3600).Draw(t, "age")) * time.Second).UnixMilli(),
		HasValue: rapid.Bool().Draw(t, "has value"), Value: rapid.Int64Range(-event.MaxValue, event.MaxValue).Draw(t, "value"),
	}
})

// Totals and each point of a series equal what a recount of the events gives, wherever the events are (INV-5).
func TestAnswersEqualARecount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l, v := &ledger{asOf: now.UnixMilli()}, &vault{}
		r := rigOf(t, l, l, nil, withVault(t, v, nil))
		events := rapid.SliceOfN(drawEvent, 0, 30).Draw(rt, "events")
		for portion := range slices.Chunk(events, 10) {
			r.add(portion...)
			if age := rapid.Int64Range(-1, 4).Draw(rt, "days kept"); age >= 0 {
				l.archive(v, (now.Unix()/86400-age)*minutesOfDay)
			}
			if rapid.Bool().Draw(rt, "compact") {
				v.compact()
			}
		}
		fn := rapid.SampledFrom([]string{"count", "sum", "avg", "min", "max"}).Draw(rt, "function")
		key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key")
		step := rapid.SampledFrom([]string{"", "minute", "hour", "day"}).Draw(rt, "step")
		unit := map[string]time.Duration{"": time.Minute, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}[step]
		from := now.Add(-time.Duration(rapid.Int64Range(1, int64(72*time.Hour/unit)).Draw(rt, "from")) * unit).Truncate(unit)
		to := now.Truncate(unit).Add(unit)
		target := fmt.Sprintf("/v1/stats?type=view&key=%s&function=%s&from=%s&to=%s", key, fn, from.Format(time.RFC3339), to.Format(time.RFC3339))
		if step != "" {
			target += "&step=" + step
		}
		recorder := httptest.NewRecorder()
		r.echo.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, target, nil))
		check := func(got any, from, to time.Time) {
			want := recount(events, fn, key, from.UnixMilli(), to.UnixMilli())
			text := ""
			if n, ok := got.(json.Number); ok {
				text = n.String()
			}
			if fn == "avg" && text != "" {
				f, _ := json.Number(text).Float64()
				text = fmt.Sprint(f)
			}
			if text != want {
				rt.Fatalf("%s: got %q from %s to %s, want %q", target, text, from, to, want)
			}
		}
		answer := struct {
			Value  any
			Points []struct {
				Start time.Time
				Value any
			}
		}{}
		d := json.NewDecoder(bytes.NewReader(recorder.Body.Bytes()))
		d.UseNumber()
		if err := d.Decode(&answer); err != nil || recorder.Code != 200 || strings.Contains(target, "step") != (answer.Points != nil) {
			rt.Fatalf("%s: got %d %s: %v", target, recorder.Code, recorder.Body, err)
		}
		if step == "" {
			check(answer.Value, from, to)
			return
		}
		at := from
		for _, p := range answer.Points {
			if !p.Start.Equal(at) {
				rt.Fatalf("%s: got a point at %s, want %s", target, p.Start, at)
			}
			at = at.Add(unit)
			check(p.Value, p.Start, at)
		}
		if !at.Equal(to) {
			rt.Fatalf("%s: got the last point before %s, want %s", target, at, to)
		}
	})
}
