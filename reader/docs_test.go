package reader_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
)

// documented is a small day of videos: what the examples of the documentation ask about.
func documented(r *rig, v *vault) {
	seen := func(key string, ms int64, minutes ...int) {
		for _, m := range minutes {
			r.add(event.Event{Type: "view", Key: key, TimeMs: at(17, m, 12), Value: ms, HasValue: true})
		}
	}
	seen("v1", 340, 2, 4, 4)
	seen("v1", 1250, 5)
	seen("v2", 90, 3, 5)
	r.add(event.Event{Type: "view", Key: "v1", TimeMs: at(9, 30, 0), Value: 500, HasValue: true, Weight: 120})
	old := time.Date(2024, 1, 31, 17, 4, 0, 0, time.UTC)
	r.add(event.Event{Type: "view", Key: "v0", TimeMs: old.UnixMilli(), Weight: 3})
	r.archive(v, old.Add(7*time.Hour).Truncate(24*time.Hour).Unix()/60)
	r.add(event.Event{Type: "view", Key: "v0", TimeMs: old.UnixMilli()}) // late
	r.set(func(l *ledger) {
		l.titles = map[string]wire.KeyInfo{"v1": {Title: "Quipus of the Andes", Owner: "museum"}}
	})
}

// example is a command of the documentation and the answer below it.
var example = regexp.MustCompile(`(?s)\n\$ curl -s '([^']+)'(?: \\\n +-d '([^']+)')?\n(\{.*?\n?\})\n` + "```")

// The answers in the documentation are those of the reader.
func TestExamplesOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{}
	r := newRig(t, withVault(t, v, func(c *reader.Config) {
		view := event.Type{Name: "view", Unit: "ms", Description: "a video was watched for so long", AcceptLate: event.DefaultAcceptLate, CreatedAt: now.Truncate(24 * time.Hour)}
		c.EventTypes = func() map[string]event.Type { return map[string]event.Type{"view": view} }
	}))
	documented(r, v)
	examples := example.FindAllSubmatch(page, -1)
	for _, e := range examples {
		target, local := strings.CutPrefix(string(e[1]), "http://127.0.0.1:8081")
		if !local {
			continue // of another role
		}
		req := httptest.NewRequest(http.MethodGet, target, nil)
		if len(e[2]) > 0 {
			req = httptest.NewRequest(http.MethodPost, target, bytes.NewReader(e[2]))
		}
		behind := int64(-800)
		if strings.Contains(target, "wait=") {
			behind = 40
		}
		r.set(func(l *ledger) { l.asOf = now.UnixMilli() + behind })
		got := r.do(t, req)
		var shown, want any
		if err := json.Unmarshal(e[3], &shown); err != nil {
			t.Errorf("the answer shown for %s is not JSON: %v", target, err)
		}
		_ = json.Unmarshal(got.Body, &want)
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("the answer to %s is\n%s\nand not what is shown (-want +got):\n%s", target, got.Body, diff)
		}
	}
	if len(examples) < 8 {
		t.Errorf("got %d examples, want at least 8", len(examples))
	}
}
