package ingest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
)

const testNow = int64(1_769_860_800_000) // 2026-01-31T12:00:00Z

func testTypes() map[string]event.Type {
	return map[string]event.Type{
		"view": {Name: "view", Unit: "ms", AcceptLate: 7 * 24 * time.Hour},
		"like": {Name: "like", AllowNegative: true, AcceptLate: time.Hour},
	}
}

func testRules(t testing.TB) rules {
	t.Helper()
	f, err := event.NewFingerprinter("000102030405060708090a0b0c0d0e0f")
	if err != nil {
		t.Fatal(err)
	}
	return rules{
		types: testTypes(), partitions: 16, fingerprinter: f, now: testNow, ahead: 5 * time.Minute, late: time.Hour, maxEvents: 100,
	}
}

func (p *parser) events() []event.Event {
	var out []event.Event
	for _, e := range p.entries {
		out = append(out, event.Event{
			Type: e.Type, Key: string(e.Key), ID: string(e.ID), TimeMs: e.TimeMs, Value: e.Value, Weight: e.Weight, HasValue: e.HasValue,
		})
	}
	return out
}

func TestParseEvents(t *testing.T) {
	view := event.Event{Type: "view", Key: "v1", TimeMs: testNow, Weight: 1}
	with := func(change func(*event.Event)) []event.Event {
		e := view
		change(&e)
		return []event.Event{e}
	}
	cases := map[string]struct {
		body string
		want []event.Event
	}{
		"one object":          {`{"type":"view","key":"v1"}`, []event.Event{view}},
		"white space":         {" \t\r\n{ \"type\" :\n\"view\" , \"key\"\t:\"v1\" } \n", []event.Event{view}},
		"array":               {`[{"type":"view","key":"v1"},{"key":"v1","type":"view"}]`, []event.Event{view, view}},
		"empty array":         {` [ ] `, nil},
		"lines":               {"{\"type\":\"view\",\"key\":\"v1\"}\n{\"type\":\"view\",\"key\":\"v1\"}\r\n\n", []event.Event{view, view}},
		"id":                  {`{"type":"view","key":"v1","id":"a"}`, with(func(e *event.Event) { e.ID = "a" })},
		"time in ms":          {`{"type":"view","key":"v1","time":1769860799999}`, with(func(e *event.Event) { e.TimeMs = 1769860799999 })},
		"time as text":        {`{"type":"view","key":"v1","time":"2026-01-31T11:59:59.9999Z"}`, with(func(e *event.Event) { e.TimeMs = 1769860799999 })},
		"time with offset":    {`{"type":"view","key":"v1","time":"2026-01-31T13:30:00+01:30"}`, with(func(e *event.Event) {})},
		"time ahead":          {`{"type":"view","key":"v1","time":1769861100000}`, with(func(e *event.Event) { e.TimeMs = testNow + 300_000 })},
		"time old":            {`{"type":"view","key":"v1","time":1769256000000}`, with(func(e *event.Event) { e.TimeMs = testNow - 7*86_400_000 })},
		"value":               {`{"type":"view","key":"v1","value":-9007199254740991}`, with(func(e *event.Event) { e.HasValue, e.Value = true, -event.MaxValue })},
		"value zero":          {`{"type":"view","key":"v1","value":-0}`, with(func(e *event.Event) { e.HasValue = true })},
		"weight":              {`{"type":"view","key":"v1","weight":1000000}`, with(func(e *event.Event) { e.Weight = event.MaxWeight })},
		"negative weight":     {`{"type":"like","key":"v1","weight":-3}`, with(func(e *event.Event) { e.Type, e.Weight = "like", -3 })},
		"escapes":             {`{"typ\u0065":"view","key":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00x\u0000","id":"\u0041é"}`, with(func(e *event.Event) { e.Key, e.ID = "\"\\/\b\f\n\r\té😀x\x00", "Aé" })},
		"unicode":             {`{"type":"view","key":"ключ 鍵 😀"}`, with(func(e *event.Event) { e.Key = "ключ 鍵 😀" })},
		"longest key and id":  {`{"type":"view","key":"` + strings.Repeat("k", 255) + `","id":"` + strings.Repeat("i", 128) + `"}`, with(func(e *event.Event) { e.Key, e.ID = strings.Repeat("k", 255), strings.Repeat("i", 128) })},
		"solidus and unicode": {`{"type":"view","key":"a/b\/c"}`, with(func(e *event.Event) { e.Key = "a/b/c" })},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			var p parser
			if err := p.parse([]byte(test.body), shapeSniff, testRules(t)); err != nil {
				t.Fatalf("got %v", err)
			}
			if len(p.rejected) > 0 {
				t.Fatalf("got rejections %+v", p.rejected)
			}
			if diff := cmp.Diff(test.want, p.events()); diff != "" {
				t.Errorf("events differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRejectedEvents(t *testing.T) {
	cases := map[string]struct{ body, code, message string }{
		"not an object":       {`17`, codeInvalidEvent, "an event must be an object, this is a number"},
		"null":                {`null`, codeInvalidEvent, "an event must be an object, this is null"},
		"nested array":        {`[[]]`, codeInvalidEvent, "an event must be an object, this is an array"},
		"no fields":           {`{}`, codeInvalidEvent, `field "type" is missing`},
		"no key":              {`{"type":"view"}`, codeInvalidEvent, `field "key" is missing`},
		"no type":             {`{"key":"v1"}`, codeInvalidEvent, `field "type" is missing`},
		"unknown field":       {`{"type":"view","key":"v1","user":{"a":[1,2.5e3,"x",null,true]}}`, codeInvalidEvent, `unknown field "user"; known are type, key, id, time, value and weight`},
		"field in capitals":   {`{"Type":"view","key":"v1"}`, codeInvalidEvent, `unknown field "Type"; known are`},
		"field twice":         {`{"type":"view","key":"v1","key":"v2"}`, codeInvalidEvent, `field "key" is there twice`},
		"field twice escaped": {`{"type":"view","key":"v1","\u006bey":"v1"}`, codeInvalidEvent, `field "key" is there twice`},
		"type of type":        {`{"type":7,"key":"v1"}`, codeInvalidEvent, `field "type" must be a string, is a number`},
		"type of key":         {`{"type":"view","key":7}`, codeInvalidEvent, `field "key" must be a string, is a number`},
		"type of id":          {`{"type":"view","key":"v1","id":null}`, codeInvalidEvent, `field "id" must be a string, is null`},
		"type of time":        {`{"type":"view","key":"v1","time":true}`, codeInvalidEvent, `field "time" must be a string or a whole number, is a boolean`},
		"type of value":       {`{"type":"view","key":"v1","value":"7"}`, codeInvalidEvent, `field "value" must be a whole number, is a string`},
		"type of weight":      {`{"type":"view","key":"v1","weight":[]}`, codeInvalidEvent, `field "weight" must be a whole number, is an array`},
		"unknown type":        {`{"type":"vieuw","key":"v1"}`, codeUnknownType, `type "vieuw" is not registered`},
		"empty type":          {`{"type":"","key":"v1"}`, codeUnknownType, `type "" is not registered`},
		"strange type":        {`{"type":"\u0000é` + strings.Repeat("x", 100) + `","key":"v1"}`, codeUnknownType, `type "\x00\u00e9xxx`},
		"empty key":           {`{"type":"view","key":""}`, codeInvalidKey, "key must have 1 to 255 bytes, has 0"},
		"long key":            {`{"type":"view","key":"` + strings.Repeat("é", 128) + `"}`, codeInvalidKey, "key must have 1 to 255 bytes, has 256"},
		"key not UTF-8":       {"{\"type\":\"view\",\"key\":\"v\xff\"}", codeInvalidKey, "key is not valid UTF-8"},
		"key overlong UTF-8":  {"{\"type\":\"view\",\"key\":\"v\xc0\x80\"}", codeInvalidKey, "key is not valid UTF-8"},
		"key escaped, bad":    {"{\"type\":\"view\",\"key\":\"\\n\xff\"}", codeInvalidKey, "key is not valid UTF-8"},
		"key half a pair":     {`{"type":"view","key":"\ud83d"}`, codeInvalidKey, "key holds half of a surrogate pair"},
		"key halves swapped":  {`{"type":"view","key":"\ude00\ud83d"}`, codeInvalidKey, "key holds half of a surrogate pair"},
		"empty id":            {`{"type":"view","key":"v1","id":""}`, codeInvalidID, "id must have 1 to 128 bytes, has 0"},
		"long id":             {`{"type":"view","key":"v1","id":"` + strings.Repeat("i", 129) + `"}`, codeInvalidID, "id must have 1 to 128 bytes, has 129"},
		"id not UTF-8":        {"{\"type\":\"view\",\"key\":\"v1\",\"id\":\"\x80\"}", codeInvalidID, "id is not valid UTF-8"},
		"time no date":        {`{"type":"view","key":"v1","time":"yesterday"}`, codeInvalidTime, `time must be like 2026-01-31T12:30:00Z, from 1970 to 2099, is "yesterday"`},
		"time no zone":        {`{"type":"view","key":"v1","time":"2026-01-31T12:00:00"}`, codeInvalidTime, "time must be like"},
		"time 31 February":    {`{"type":"view","key":"v1","time":"2026-02-31T12:00:00Z"}`, codeInvalidTime, "time must be like"},
		"time fraction":       {`{"type":"view","key":"v1","time":1769860800000.5}`, codeInvalidTime, "time must be whole milliseconds without fraction or exponent, is 1769860800000.5"},
		"time negative":       {`{"type":"view","key":"v1","time":-1}`, codeInvalidTime, "time must be milliseconds since 1970, before 4102444800000, is -1"},
		"time huge":           {`{"type":"view","key":"v1","time":99999999999999999999}`, codeInvalidTime, "time must be milliseconds since 1970, before 4102444800000, is 99999999999999999999"},
		"time far ahead":      {`{"type":"view","key":"v1","time":1769861100001}`, codeTooFarAhead, "time 2026-01-31T12:05:00.001Z is 5m0.001s ahead, the limit is 5m"},
		"time too old":        {`{"type":"like","key":"v1","time":1769857199999}`, codeTooOld, `time 2026-01-31T10:59:59.999Z is 1h0m0.001s ago, type "like" accepts events up to 1h old`},
		"seconds for ms":      {`{"type":"view","key":"v1","time":1769861100}`, codeTooOld, `time 1970-01-21T11:37:41.1Z is 20464d22m18s ago, type "view" accepts events up to 7d old`},
		"value fraction":      {`{"type":"view","key":"v1","value":1.5}`, codeInvalidValue, "value must be a whole number without fraction or exponent, is 1.5"},
		"value exponent":      {`{"type":"view","key":"v1","value":1e3}`, codeInvalidValue, "value must be a whole number without fraction or exponent, is 1e3"},
		"value high":          {`{"type":"view","key":"v1","value":9007199254740992}`, codeInvalidValue, "value must lie between -9007199254740991 and 9007199254740991, is 9007199254740992"},
		"value beyond int64":  {`{"type":"view","key":"v1","value":-9223372036854775809}`, codeInvalidValue, "value must lie between"},
		"weight zero":         {`{"type":"like","key":"v1","weight":0}`, codeInvalidWeight, "weight must not be 0"},
		"weight high":         {`{"type":"like","key":"v1","weight":1000001}`, codeInvalidWeight, "weight must lie between -1000000 and 1000000, is 1000001"},
		"weight negative":     {`{"type":"view","key":"v1","weight":-1}`, codeNegative, `type "view" does not allow negative weights`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			good := `{"type":"view","key":"good"}`
			var p parser
			if err := p.parse([]byte("["+good+","+test.body+","+good+"]"), shapeJSON, testRules(t)); err != nil {
				t.Fatalf("got %v", err)
			}
			if len(p.rejected) != 1 || len(p.entries) != 2 {
				t.Fatalf("got %d rejected and %d entries, want 1 and 2: %+v", len(p.rejected), len(p.entries), p.rejected)
			}
			got := p.rejected[0]
			if got.index != 1 || got.code != test.code || !strings.HasPrefix(got.message, test.message) || got.retryable {
				t.Errorf("got %+v, want index 1, code %s, message %q", got, test.code, test.message)
			}
			if p.entries[0].index != 0 || p.entries[1].index != 2 {
				t.Errorf("got entries at %d and %d", p.entries[0].index, p.entries[1].index)
			}
			var answer struct{ Rejected []struct{ Message string } }
			if err := json.Unmarshal(appendAnswer(nil, 2, p.rejected), &answer); err != nil || answer.Rejected[0].Message != got.message {
				t.Errorf("got %q, %v back from the answer, want %q", answer.Rejected, err, got.message)
			}
		})
	}
}

func TestMalformedBodies(t *testing.T) {
	object := `{"type":"view","key":"v1"}`
	cases := map[string]struct {
		body   string
		form   shape
		offset int
		reason string
	}{
		"empty":               {"", shapeSniff, 0, "the body is empty"},
		"only space":          {" \n ", shapeSniff, 3, "the body is empty"},
		"no JSON":             {"hello", shapeJSON, 0, `'h' where an array or an object should follow`},
		"no JSON, sniffed":    {"hello", shapeSniff, 0, `'h' where an array or an object should follow`},
		"array in lines":      {"[]\n[", shapeLines, 4, "the body ends where a value should follow"},
		"cut off":             {`[{"type":"view","key":"v1"`, shapeJSON, 26, "the body ends where a comma or } should follow"},
		"cut off in a string": {`[{"type":"vie`, shapeJSON, 13, "the body ends inside a string"},
		"cut off in a number": {`[{"value":-`, shapeJSON, 11, "the body ends where a digit should follow"},
		"array not closed":    {"[" + object, shapeJSON, 27, "the body ends where a comma or ] should follow"},
		"trailing comma":      {"[" + object + ",]", shapeJSON, 28, `']' where a value should follow`},
		"comma in object":     {`{"type":"view",}`, shapeJSON, 15, `'}' where a field's name should follow`},
		"no colon":            {`{"type" "view"}`, shapeJSON, 8, `'"' where a colon should follow`},
		"single quotes":       {`{'type':'view'}`, shapeJSON, 1, `'\'' where a field's name should follow`},
		"two objects":         {object + object, shapeJSON, 26, `'{' where the end of the body should follow`},
		"two in a line":       {object + " " + object, shapeSniff, 27, `'{' where a new line should follow`},
		"after the array":     {"[" + object + "] x", shapeJSON, 29, `'x' where the end of the body should follow`},
		"control character":   {"{\"type\":\"vi\new\"}", shapeJSON, 11, "control character 0x0a inside a string"},
		"bad escape":          {`{"type":"\x41"}`, shapeJSON, 9, `unknown escape \x`},
		"bad unicode escape":  {`{"type":"\u00g1"}`, shapeJSON, 13, `'g' in a \u escape`},
		"leading zero":        {`{"value":01}`, shapeJSON, 10, "a digit after a leading zero"},
		"plus sign":           {`{"value":+1}`, shapeJSON, 9, `'+' where a value should follow`},
		"no fraction":         {`{"value":1.}`, shapeJSON, 11, `'}' where a digit should follow`},
		"no exponent":         {`{"value":1e}`, shapeJSON, 11, `'}' where a digit should follow`},
		"misspelt":            {`{"id":nul}`, shapeJSON, 9, `'}' where null should follow`},
		"NaN":                 {`{"value":NaN}`, shapeJSON, 9, `'N' where a value should follow`},
		"too deep":            {`{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, shapeJSON, 69, "nested deeper than 64"},
		"byte order mark":     {"\ufeff" + object, shapeJSON, 0, `'ï' where an array or an object should follow`},
		"zero byte":           {"\x00", shapeJSON, 0, `'\x00' where an array or an object should follow`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			var p parser
			err := p.parse([]byte(test.body), test.form, testRules(t))
			syntax, ok := err.(*syntaxError)
			if !ok || syntax.offset != test.offset || !strings.HasPrefix(syntax.reason, test.reason) {
				t.Errorf("got %v, want byte %d: %s", err, test.offset, test.reason)
			}
		})
	}
}

func TestTooManyEvents(t *testing.T) {
	r := testRules(t)
	r.maxEvents = 3
	var p parser
	bodies := []string{`[{},{},{}%s]`, "{}\n{}\n{}\n%s"}
	for i, more := range []string{",{}", "{}"} {
		if err := p.parse(fmt.Appendf(nil, bodies[i], ""), shapeSniff, r); err != nil {
			t.Errorf("three events: got %v", err)
		}
		if _, ok := p.parse(fmt.Appendf(nil, bodies[i], more), shapeSniff, r).(*tooManyEvents); !ok {
			t.Errorf("four events were not refused")
		}
	}
}

// TestParserAgreesWithEncodingJSON compares with another reader of JSON on generated events, and on what single changed bytes make of them.
func TestParserAgreesWithEncodingJSON(t *testing.T) {
	r := testRules(t)
	var p parser
	rapid.Check(t, func(t *rapid.T) {
		var want []event.Event
		var sent []map[string]any
		for range rapid.IntRange(0, 5).Draw(t, "events") {
			e, m := drawEvent(t)
			want, sent = append(want, e), append(sent, m)
		}
		body, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		if sent == nil {
			body = []byte("[]")
		}
		if err := p.parse(body, shapeJSON, r); err != nil || len(p.rejected) > 0 {
			t.Fatalf("parse %s: got %v, %+v", body, err, p.rejected)
		}
		if diff := cmp.Diff(want, p.events(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("events of %s differ (-want +got):\n%s", body, diff)
		}
		at := rapid.IntRange(0, len(body)-1).Draw(t, "changed")
		body[at] = rapid.Byte().Draw(t, "to")
		checkSyntaxAgrees(t, &p, body, r)
	})
}

type fataler interface {
	Fatalf(format string, args ...any)
	Helper()
}

// checkSyntaxAgrees checks that what is JSON for encoding/json is for the parser, and the other way round.
func checkSyntaxAgrees(t fataler, p *parser, body []byte, r rules) {
	t.Helper()
	err := p.parse(body, shapeJSON, r)
	if _, ok := err.(*tooManyEvents); ok {
		return
	}
	first := strings.TrimLeft(string(body), " \t\r\n")
	valid := json.Valid(body) && (strings.HasPrefix(first, "[") || strings.HasPrefix(first, "{"))
	if deep, ok := err.(*syntaxError); ok && strings.HasPrefix(deep.reason, "nested") {
		return
	}
	if valid != (err == nil) {
		t.Fatalf("parse %q: got %v, encoding/json says it is valid: %v", body, err, valid)
	}
	if syntax, ok := err.(*syntaxError); ok && (syntax.offset < 0 || syntax.offset > len(body)) {
		t.Fatalf("parse %q: got the offset %d", body, syntax.offset)
	}
}

func drawEvent(t *rapid.T) (event.Event, map[string]any) {
	e := event.Event{Type: "like", Key: rapid.StringN(1, 60, 255).Draw(t, "key"), TimeMs: testNow, Weight: 1}
	m := map[string]any{"type": e.Type, "key": e.Key}
	if rapid.Bool().Draw(t, "has id") {
		e.ID = rapid.StringN(1, 30, 128).Draw(t, "id")
		m["id"] = e.ID
	}
	if rapid.Bool().Draw(t, "has time") {
		e.TimeMs = testNow - rapid.Int64Range(-300_000, 3_600_000).Draw(t, "age")
		m["time"] = e.TimeMs
		if rapid.Bool().Draw(t, "as text") {
			zone := time.FixedZone("", rapid.IntRange(-14*60, 14*60).Draw(t, "zone")*60)
			m["time"] = time.UnixMilli(e.TimeMs).In(zone).Format(time.RFC3339Nano)
		}
	}
	if rapid.Bool().Draw(t, "has value") {
		e.HasValue, e.Value = true, rapid.Int64Range(-event.MaxValue, event.MaxValue).Draw(t, "value")
		m["value"] = e.Value
	}
	if rapid.Bool().Draw(t, "has weight") {
		e.Weight = rapid.Int64Range(1, event.MaxWeight).Draw(t, "weight") * rapid.SampledFrom([]int64{1, -1}).Draw(t, "sign")
		m["weight"] = e.Weight
	}
	return e, m
}

func TestRoutingAndFingerprints(t *testing.T) {
	r := testRules(t)
	var p parser
	if err := p.parse([]byte(`[{"type":"view","key":"a\u0062c","id":"x"},{"type":"like","key":"abc"}]`), shapeJSON, r); err != nil {
		t.Fatal(err)
	}
	for i, kind := range []string{"view", "like"} {
		e := p.entries[i]
		if hash := cluster.KeyHash(kind, "abc"); e.KeyHash != hash || int(e.partition) != cluster.Partition(kind, "abc", r.partitions) {
			t.Errorf("%s: got hash %x in partition %d, want %x", kind, e.KeyHash, e.partition, hash)
		}
	}
	if got, want := p.entries[0].Fingerprint, r.fingerprinter.Fingerprint("view", "abc", "x"); got != want {
		t.Errorf("got fingerprint %x, want %x", got, want)
	}
	if p.entries[1].Fingerprint != 0 || p.withID != 1 {
		t.Errorf("got fingerprint %x and %d events with an id, want 0 and 1", p.entries[1].Fingerprint, p.withID)
	}
}

// TestDerivedIDs: a retry with the same Idempotency-Key gets the same ids, whatever the clock says; another body or key others.
func TestDerivedIDsOfARequest(t *testing.T) {
	body := `[{"type":"view","key":"a"}, {"type":"view","key":"a"},{"type":"view","key":"a","id":"own"}]`
	ids := func(key, body string, now int64) []uint64 {
		r := testRules(t)
		r.idempotencyKey, r.now = key, now
		var p parser
		if err := p.parse([]byte(body), shapeSniff, r); err != nil {
			t.Fatal(err)
		}
		var out []uint64
		for _, e := range p.entries {
			out = append(out, e.Fingerprint)
		}
		return out
	}
	first := ids("k", body, testNow)
	if diff := cmp.Diff(first, ids("k", body, testNow+5000)); diff != "" {
		t.Errorf("a retry got other ids (-first +retry):\n%s", diff)
	}
	if first[0] == first[1] || first[0] == 0 {
		t.Errorf("got fingerprints %x: equal events of a request are two events", first)
	}
	other := ids("l", body, testNow)
	if other[0] == first[0] || other[2] != first[2] {
		t.Errorf("got %x with another key after %x: only derived ids depend on it", other, first)
	}
	if got := ids("k", strings.Replace(body, `"a"`, `"b"`, 1), testNow); got[0] == first[0] || got[1] != first[1] {
		t.Errorf("got %x after changing the first event, before %x", got, first)
	}
}
