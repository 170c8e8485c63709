package ingest

import (
	"testing"

	"github.com/quipudb/quipu/event"
)

// FuzzParse feeds arbitrary bodies to the parser in every shape. Whatever it accepts must be within the limits and survive the batch
// format, every event must be accounted for, and it must call JSON what encoding/json does.
func FuzzParse(f *testing.F) {
	for _, body := range []string{
		`{"type":"view","key":"v1"}`, `[{"type":"view","key":"v\u00e91","id":"a","time":"2026-01-31T12:00:00Z","value":-7,"weight":2},{"type":"like","key":"x","weight":-1}]`,
		"{\"type\":\"view\",\"key\":\"a\"}\n{\"type\":\"view\",\"key\":\"b\",\"time\":1769860800000}\n", `[{"a":[1.5e3,{"b":null}]},7,"\ud83d\ude00"]`, `[`, "\xff",
	} {
		f.Add([]byte(body), byte(0))
	}
	r := testRules(f)
	var p parser
	f.Fuzz(func(t *testing.T, body []byte, form byte) {
		err := p.parse(body, shape(form%3), r)
		if err == nil {
			checkAccepted(t, &p)
		}
		checkSyntaxAgrees(t, &p, body, r)
	})
}

func checkAccepted(t *testing.T, p *parser) {
	if len(p.entries)+len(p.rejected) != p.count {
		t.Fatalf("got %d entries and %d rejections of %d events", len(p.entries), len(p.rejected), p.count)
	}
	var builder event.BatchBuilder
	for i := range p.entries {
		builder.AddRaw(&p.entries[i].RawEvent)
	}
	var batch event.Batch
	if err := batch.Decode(builder.AppendTo(nil)); err != nil {
		t.Fatalf("accepted events do not make a batch: %v", err)
	}
	for i, want := range p.events() {
		if got := batch.Event(i); got != want {
			t.Fatalf("event %d: got %+v from the batch, want %+v", i, got, want)
		}
	}
}
