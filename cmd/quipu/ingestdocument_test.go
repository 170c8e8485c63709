package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/quipudb/quipu/event"
)

// Every route of ingest is in the document, and every operation that the document gives to ingest is routed.
func TestDocumentNamesEveryRouteOfIngest(t *testing.T) {
	d := openDesk(t, nil, nil)
	routed, documented := []string{}, []string{}
	for _, route := range d.echo.Routes() {
		if route.Method != http.MethodHead && !strings.HasPrefix(route.Path, "/internal/") {
			routed = append(routed, route.Method+" "+route.Path)
		}
	}
	for path, item := range d.document.Paths.Map() {
		for method, operation := range item.Operations() {
			if slices.Contains(operation.Tags, "ingest") || slices.Contains(operation.Tags, "every role") {
				documented = append(documented, method+" "+path)
			}
		}
	}
	slices.Sort(routed)
	slices.Sort(documented)
	if diff := cmp.Diff(documented, slices.Compact(routed)); diff != "" {
		t.Errorf("routes differ (-document +served):\n%s", diff)
	}
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func zstdOf(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(text), nil))
}

// Types of bodies, as headers.
var (
	asJSON  = []string{"Content-Type", "application/json"}
	asLines = []string{"Content-Type", "application/x-ndjson"}
)

func with(headers []string, more ...string) []string { return append(slices.Clone(headers), more...) }

// TestEventsAreTakenAsTheDocumentSays sends every kind of body that is taken: the document allows each.
func TestEventsAreTakenAsTheDocumentSays(t *testing.T) {
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.PlainBodyDecoder)
	now := time.Now()
	one := `{"type":"view","key":"v1","id":"a","value":340}`
	full := fmt.Sprintf(`{"type":"like","key":"é/😀","id":"b","time":%q,"value":-1,"weight":-3}`, now.UTC().Format(time.RFC3339Nano))
	tests := map[string]struct {
		body     string
		headers  []string
		accepted int
	}{
		"an array":           {"[" + one + "," + full + "]", asJSON, 2},
		"no events":          {"[]", asJSON, 0},
		"one object":         {one, asJSON, 1},
		"lines":              {one + "\n" + full + "\n", asLines, 2},
		"gzip":               {zipped(t, "["+one+"]"), with(asJSON, "Content-Encoding", "gzip"), 1},
		"zstd":               {zstdOf(t, one+"\n"+full), with(asLines, "Content-Encoding", "zstd"), 2},
		"identity":           {one, with(asJSON, "Content-Encoding", "identity"), 1},
		"time in ms":         {fmt.Sprintf(`{"type":"view","key":"v1","time":%d}`, now.UnixMilli()), asJSON, 1},
		"time with offset":   {`{"type":"view","key":"v1","time":"` + now.In(time.FixedZone("", 7200)).Format(time.RFC3339) + `"}`, asJSON, 1},
		"largest numbers":    {fmt.Sprintf(`{"type":"view","key":"v1","value":%d,"weight":%d}`, event.MaxValue, event.MaxWeight), asJSON, 1},
		"smallest numbers":   {fmt.Sprintf(`{"type":"like","key":"v1","value":%d,"weight":%d}`, -event.MaxValue, -event.MaxWeight), asJSON, 1},
		"longest texts":      {fmt.Sprintf(`{"type":"view","key":%q,"id":%q}`, strings.Repeat("k", event.MaxKeyBytes), strings.Repeat("i", event.MaxIDBytes)), asJSON, 1},
		"most events":        {"[" + strings.Repeat(`{"type":"view","key":"v1"},`, 9_999) + one + "]", asJSON, 10_000},
		"an idempotency key": {`{"type":"view","key":"v1"}`, with(asJSON, "Idempotency-Key", "retry ~1"), 1},
		"the same key again": {`{"type":"view","key":"v2"}`, with(asJSON, "Idempotency-Key", strings.Repeat("k", 255)), 1},
	}
	d := openDesk(t, nil, nil)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := d.ask(t, http.MethodPost, "/v1/events", test.body, test.headers...)
			if got := x.accepted(t); got.Accepted != test.accepted || len(got.Rejected) != 0 {
				t.Errorf("got %+v, want %d accepted", got, test.accepted)
			}
			if err := d.fits(x); err != nil {
				t.Errorf("the document does not allow it: %v", err)
			}
		})
	}
}

// TestRejectionsAreWhatTheDocumentSays provokes every code of a rejection that a request alone can. What is wrong with an event whatever its
// type and the time, the document does not allow.
func TestRejectionsAreWhatTheDocumentSays(t *testing.T) {
	tests := map[string]struct {
		event   string
		code    string
		allowed bool // by the document, which knows no types and no time
	}{
		"no object":      {`3`, "invalid_event", false},
		"no key":         {`{"type":"view"}`, "invalid_event", false},
		"unknown field":  {`{"type":"view","key":"v1","vlaue":3}`, "invalid_event", false},
		"key a number":   {`{"type":"view","key":1}`, "invalid_event", false},
		"unknown type":   {`{"type":"veiw","key":"v1"}`, "unknown_type", true},
		"odd type":       {`{"type":"View","key":"v1"}`, "unknown_type", false},
		"empty key":      {`{"type":"view","key":""}`, "invalid_key", false},
		"long key":       {`{"type":"view","key":"` + strings.Repeat("k", event.MaxKeyBytes+1) + `"}`, "invalid_key", false},
		"empty id":       {`{"type":"view","key":"v1","id":""}`, "invalid_id", false},
		"long id":        {`{"type":"view","key":"v1","id":"` + strings.Repeat("i", event.MaxIDBytes+1) + `"}`, "invalid_id", false},
		"time in words":  {`{"type":"view","key":"v1","time":"yesterday"}`, "invalid_time", false},
		"time too far":   {`{"type":"view","key":"v1","time":4102444800000}`, "invalid_time", false},
		"time below 0":   {`{"type":"view","key":"v1","time":-1}`, "invalid_time", false},
		"half a ms":      {`{"type":"view","key":"v1","time":1.5}`, "invalid_time", false},
		"too old":        {`{"type":"view","key":"v1","time":"2001-01-01T00:00:00Z"}`, "too_old", true},
		"too far ahead":  {`{"type":"view","key":"v1","time":"2098-01-01T00:00:00Z"}`, "too_far_ahead", true},
		"half a value":   {`{"type":"view","key":"v1","value":1.5}`, "invalid_value", false},
		"large value":    {fmt.Sprintf(`{"type":"view","key":"v1","value":%d}`, event.MaxValue+1), "invalid_value", false},
		"weight 0":       {`{"type":"view","key":"v1","weight":0}`, "invalid_weight", false},
		"large weight":   {fmt.Sprintf(`{"type":"view","key":"v1","weight":%d}`, event.MaxWeight+1), "invalid_weight", false},
		"negative":       {`{"type":"view","key":"v1","weight":-1}`, "negative_not_allowed", true},
		"negative, like": {`{"type":"like","key":"v1","weight":-1}`, "", true},
	}
	d := openDesk(t, nil, nil)
	seen := map[string]bool{"log_full": true, "unavailable": true} // those of the log: see below
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := d.ask(t, http.MethodPost, "/v1/events", `[{"type":"view","key":"good"},`+test.event+"]", asJSON...)
			got := x.accepted(t)
			code := ""
			if len(got.Rejected) == 1 && got.Rejected[0].Index == 1 {
				code = got.Rejected[0].Code
			}
			if code != test.code || got.Accepted != 2-len(got.Rejected) {
				t.Errorf("got %s, want the second rejected as %q", x.answer, test.code)
			}
			seen[code] = true
			if err := d.fits(x); (err == nil) != test.allowed {
				t.Errorf("the document says %v, want it allowed: %t", err, test.allowed)
			}
		})
	}
	for _, code := range d.document.Components.Schemas["RejectionCode"].Value.Enum {
		if !seen[code.(string)] {
			t.Errorf("no event was rejected as %s", code)
		}
	}
}

// Whatever event the document allows is accepted, or is rejected for its type or its time, or for its length in bytes.
func TestDocumentedEventsAreAccepted(t *testing.T) {
	d := openDesk(t, nil, nil)
	schema := d.document.Components.Schemas["Event"].Value
	now := time.Now()
	total := 0
	rapid.Check(t, func(t *rapid.T) {
		e := map[string]any{
			"type": rapid.SampledFrom([]string{"view", "like", "other"}).Draw(t, "type"),
			"key":  rapid.StringN(1, 255, -1).Draw(t, "key"),
		}
		optional := map[string]func() any{
			"id": func() any { return rapid.StringN(1, 128, -1).Draw(t, "id") },
			"value": func() any {
				return rapid.Int64Range(int64(*schema.Properties["value"].Value.Min), int64(*schema.Properties["value"].Value.Max)).Draw(t, "value")
			},
			"weight": func() any {
				return rapid.Int64Range(int64(*schema.Properties["weight"].Value.Min), -1).Draw(t, "weight")
			},
			"time": func() any {
				at := now.Add(time.Duration(rapid.Int64Range(-1e7, 1e6).Draw(t, "seconds")) * time.Second)
				return rapid.SampledFrom([]any{at.UnixMilli(), at.Format(time.RFC3339), at.UTC().Format(time.RFC3339Nano)}).Draw(t, "time")
			},
		}
		for _, name := range []string{"id", "value", "weight", "time"} {
			if rapid.Bool().Draw(t, "with "+name) {
				e[name] = optional[name]()
			}
		}
		body, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		x := d.ask(t, http.MethodPost, "/v1/events", string(body), asJSON...)
		if err := d.fits(x); err != nil {
			t.Fatalf("the document does not allow %s: %v", body, err)
		}
		got := x.accepted(t)
		total += got.Accepted
		id, _ := e["id"].(string)
		for _, r := range got.Rejected {
			inBytes := (r.Code == "invalid_key" && len(e["key"].(string)) > event.MaxKeyBytes) || (r.Code == "invalid_id" && len(id) > event.MaxIDBytes)
			if !inBytes && !slices.Contains([]string{"unknown_type", "too_old", "too_far_ahead", "negative_not_allowed"}, r.Code) {
				t.Fatalf("%s was rejected: %s", body, x.answer)
			}
		}
	})
	if total == 0 {
		t.Error("no event was accepted: the generator is of no use")
	}
}
