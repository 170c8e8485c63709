package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/ingest"
)

// exampleEvents is a command of the documentation that sends events, and the answer below it.
var exampleEvents = regexp.MustCompile(`(?s)\n\$ curl -s 'http://127\.0\.0\.1:8080(/v1/events)' \\\n +-d '([^']+)'\n(\{.*?\})\n` + "```")

// dayOfTheExamples is a log in whose time the documentation was written.
type dayOfTheExamples struct{ ingest.Log }

func (dayOfTheExamples) Now() (int64, error) {
	return time.Date(2026, 1, 31, 17, 5, 30, 250e6, time.UTC).UnixMilli(), nil
}

// The answers to events in the documentation are those of ingest; those of the reader are tested beside it.
func TestExamplesOfEventsInTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	d := openDesk(t, nil, func(c *ingest.Config) { c.Log = dayOfTheExamples{c.Log} })
	examples := exampleEvents.FindAllStringSubmatch(string(page), -1)
	for _, e := range examples {
		x := d.ask(t, http.MethodPost, e[1], e[2], "Content-Type", "application/x-www-form-urlencoded") // as curl does
		var shown, got any
		if err := json.Unmarshal([]byte(e[3]), &shown); err != nil {
			t.Errorf("the answer shown for %s is not JSON: %v", e[2], err)
		}
		if err := json.Unmarshal(x.answer, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, shown); diff != "" {
			t.Errorf("the answer to %s is\n%s\nand not what is shown (-want +got):\n%s", e[2], x.answer, diff)
		}
	}
	if want := strings.Count(string(page), "http://127.0.0.1:8080/v1/events"); len(examples) != want || want < 3 {
		t.Errorf("got %d examples with an answer, want all of %d, and at least 3", len(examples), want)
	}
}
