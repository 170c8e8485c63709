package reader_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quipudb/quipu/event"
)

func TestDocumentIsValid(t *testing.T) {
	document := loadDocument(t)
	if document.OpenAPI != "3.1.0" || !document.IsOpenAPI31OrLater() {
		t.Errorf("got OpenAPI %q, want 3.1.0", document.OpenAPI)
	}
	if err := document.Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDocumentIsServed(t *testing.T) {
	r := newRig(t, nil)
	got := r.get(t, "/openapi.json")
	served, err := openapi3.NewLoader().LoadFromData(got.Body)
	if err != nil || got.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("got media type %q, %v", got.Header.Get("Content-Type"), err)
	}
	if diff := cmp.Diff(r.document.Paths.InMatchingOrder(), served.Paths.InMatchingOrder()); diff != "" {
		t.Errorf("paths differ (-want +got):\n%s", diff)
	}
	req := httptest.NewRequest(http.MethodGet, "/openapi.json", nil)
	req.Header.Set("If-None-Match", got.Header.Get("ETag"))
	if again := r.do(t, req); again.Status != http.StatusNotModified || len(again.Body) != 0 {
		t.Errorf("got status %d and %d bytes with the validator, want 304 and none", again.Status, len(again.Body))
	}
}

// Every route of the reader is in the document, and every operation that the document gives to readers is routed.
func TestDocumentNamesEveryRoute(t *testing.T) {
	r := newRig(t, nil)
	routed, documented := []string{}, []string{}
	for _, route := range r.echo.Routes() {
		if route.Method != http.MethodHead {
			routed = append(routed, route.Method+" "+documentPath(route.Path))
		}
	}
	for path, item := range r.document.Paths.Map() {
		for method, operation := range item.Operations() {
			if slices.Contains(operation.Tags, "reader") || slices.Contains(operation.Tags, "every role") {
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

// Every parameter of an operation is one that its handler knows: with a value that its schema allows it is never called unknown.
func TestDocumentNamesEveryParameter(t *testing.T) {
	r := newRig(t, nil)
	for path, item := range r.document.Paths.Map() {
		if item.Get == nil || !strings.HasPrefix(path, "/v1/") {
			continue
		}
		target := strings.NewReplacer("{type}", "view", "{key}", "v1").Replace(path)
		var told struct{ Detail string }
		_ = json.Unmarshal(r.get(t, target+"?no_such=1").Body, &told)
		_, list, _ := strings.Cut(told.Detail, "this call takes ")
		documented := []string{}
		for _, p := range item.Get.Parameters {
			if p.Value.In == "query" {
				documented = append(documented, p.Value.Name)
			}
		}
		if len(documented) == 0 {
			documented = []string{"none"}
		}
		served := strings.Split(list, ", ")
		slices.Sort(documented)
		slices.Sort(served)
		if diff := cmp.Diff(documented, served); diff != "" {
			t.Errorf("parameters of %s differ (-document +served):\n%s", path, diff)
		}
	}
}

// drawn generates what schemas describe, leaning towards values that mean something here.
type drawn struct{ *rapid.T }

func (d drawn) value(label string, s *openapi3.Schema) any {
	switch {
	case len(s.Enum) > 0:
		return rapid.SampledFrom(s.Enum).Draw(d.T, label)
	case len(s.OneOf) > 0:
		return d.value(label, rapid.SampledFrom(s.OneOf).Draw(d.T, label+" kind").Value)
	case s.Type.Is("array"):
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) any { return drawn{t}.value(label, s.Items.Value) }), int(s.MinItems), 5).Draw(d.T, label)
	case s.Type.Is("object") || len(s.AllOf) > 0:
		return d.object(label, s)
	case s.Type.Is("boolean"):
		return rapid.Bool().Draw(d.T, label)
	case s.Type.Is("integer"):
		return rapid.Int64Range(int64(*s.Min), int64(*s.Max)).Draw(d.T, label)
	case s.Format == "date-time":
		return d.instant(label)
	case label == "type":
		return rapid.OneOf(rapid.SampledFrom(slices.Sorted(maps.Keys(types))), rapid.StringMatching(s.Pattern)).Draw(d.T, label)
	case label == "key":
		return rapid.OneOf(rapid.SampledFrom([]string{"v1", "p", "a/b"}), rapid.StringN(1, 80, 255)).Draw(d.T, label)
	case label == "wait": // any wait that the schema allows, but a short one
		return rapid.SampledFrom([]string{"0s", "1ms", "000002ms", "31s", "999999ms"}).Draw(d.T, label)
	case s.Pattern != "":
		return rapid.StringMatching(s.Pattern).Draw(d.T, label)
	}
	d.Fatalf("no generator for %s", label)
	return nil
}

func (d drawn) object(label string, s *openapi3.Schema) map[string]any {
	out := map[string]any{}
	for _, part := range s.AllOf {
		maps.Copy(out, d.object(label, part.Value))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if slices.Contains(s.Required, name) || rapid.Bool().Draw(d.T, "with "+name) {
			out[name] = d.value(name, s.Properties[name].Value)
		}
	}
	return out
}

// instant draws a time at or around now, aligned more often than not.
func (d drawn) instant(label string) string {
	unit := rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 24 * time.Hour, time.Second}).Draw(d.T, label+" unit")
	at := now.Add(time.Duration(rapid.Int64Range(-400, 2).Draw(d.T, label)) * unit).Truncate(unit)
	zone := time.FixedZone("", rapid.SampledFrom([]int{0, 0, 3600, -5 * 3600, 19800}).Draw(d.T, label+" zone"))
	return at.In(zone).Format(time.RFC3339Nano)
}

// request draws a request from the document, and sometimes spoils a parameter of it.
func (d drawn) request(document *openapi3.T) *http.Request {
	paths := []string{"/v1/stats", "/v1/stats:batch", "/v1/top", "/v1/keys/{type}/{key}", "/v1/event-types", "/openapi.json", "/healthz", "/readyz"}
	path := rapid.SampledFrom(paths).Draw(d.T, "path")
	item := document.Paths.Value(path)
	if item.Post != nil {
		body, err := json.Marshal(d.value("body", item.Post.RequestBody.Value.Content["application/json"].Schema.Value))
		if err != nil {
			d.Fatal(err)
		}
		return httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
	}
	query := url.Values{}
	for _, p := range item.Get.Parameters {
		if !p.Value.Required && !rapid.Bool().Draw(d.T, "with "+p.Value.Name) {
			continue
		}
		value := toText(d.value(p.Value.Name, p.Value.Schema.Value))
		if p.Value.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Value.Name+"}", url.PathEscape(value))
			continue
		}
		query.Set(p.Value.Name, value)
	}
	if rapid.IntRange(0, 9).Draw(d.T, "spoil") == 0 {
		query.Set(rapid.SampledFrom([]string{"type", "key", "from", "n", "wait", "x"}).Draw(d.T, "spoiled"), rapid.String().Draw(d.T, "spoilt"))
	}
	return httptest.NewRequest(http.MethodGet, path+"?"+query.Encode(), nil)
}

func toText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	text, _ := json.Marshal(v)
	return string(text)
}

// Whatever the document allows to ask, the answer is one that the document describes, and none of the service's faults.
func TestAnswersAreWhatTheDocumentSays(t *testing.T) {
	l := &ledger{asOf: now.UnixMilli() - 800}
	v := &vault{}
	r := rigOf(t, l, l, nil, withVault(t, v, nil))
	sample(r)
	r.add(event.Event{Type: "view", Key: "v1", TimeMs: at(-300, 7, 0)}, event.Event{Type: "view", Key: "a/b", TimeMs: at(-30, 7, 0)})
	l.archive(v, now.Unix()/86400*minutesOfDay)
	answered := 0
	rapid.Check(t, func(t *rapid.T) {
		req := drawn{t}.request(r.document)
		recorder := httptest.NewRecorder()
		r.echo.ServeHTTP(recorder, req)
		got := reply{recorder.Code, recorder.Header(), recorder.Body.Bytes()}
		if err := r.validate(req, got); err != nil {
			t.Fatalf("%s %s: answer %d is not what the document says: %v\n%s", req.Method, req.URL, got.Status, err, got.Body)
		}
		if got.Status >= 500 {
			t.Fatalf("%s %s: got status %d: %s", req.Method, req.URL, got.Status, got.Body)
		}
		if got.Status == 200 {
			answered++
		}
	})
	if answered == 0 {
		t.Error("no request was answered with 200: the generator is of no use")
	}
}

// The document is not so loose that anything fits it.
func TestDocumentBites(t *testing.T) {
	r := newRig(t, nil)
	good := r.get(t, "/v1/stats?type=view&key=v1")
	req := httptest.NewRequest(http.MethodGet, "/v1/stats?type=view&key=v1", nil)
	for _, change := range [][2]string{
		{`"stale":false`, `"stale":"no"`},
		{`"stale":false,`, ``},
		{`"value":0`, `"value":"0"`},
		{`"value":0,`, ``},
		{`"value":0`, `"value":0,"points":[]`},
		{`"as_of":"2026-01-31T17:05:29.450Z"`, `"as_of":"yesterday"`},
		{`"stale":false`, `"stale":false,"more":1`},
		{`"missing":[]`, `"missing":[{}]`},
	} {
		bad := strings.Replace(string(good.Body), change[0], change[1], 1)
		if bad == string(good.Body) {
			t.Errorf("%s is not in %s", change[0], good.Body)
		}
		if err := r.validate(req, reply{200, good.Header, []byte(bad)}); err == nil {
			t.Errorf("the document allows %s", bad)
		}
	}
	if err := r.validate(req, reply{418, good.Header, good.Body}); err == nil {
		t.Error("the document allows status 418")
	}
	if event.MaxKeyBytes != *r.document.Components.Schemas["Key"].Value.MaxLength {
		t.Errorf("got %d as the length of a key in the document, want %d", *r.document.Components.Schemas["Key"].Value.MaxLength, event.MaxKeyBytes)
	}
}
