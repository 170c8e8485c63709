package reader_test

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
)

func TestConsole(t *testing.T) {
	r := newRig(t, nil)
	got := r.get(t, "/")
	page := string(got.Body)
	if got.Status != 200 || got.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.HasPrefix(page, "<!doctype html>") {
		t.Fatalf("got %d %q", got.Status, got.Header.Get("Content-Type"))
	}
	for _, link := range []string{`href="/openapi.json"`, `href="/metrics"`} {
		if !strings.Contains(page, link) {
			t.Errorf("the page lacks %s", link)
		}
	}
	if outside := regexp.MustCompile(`(?i)(src|href)="?(https?:)?//`).FindString(page); outside != "" {
		t.Errorf("the page refers to somewhere else: %s", outside)
	}
	if inline := regexp.MustCompile(`(?i)\s(style|on[a-z]+)="`).FindString(page); inline != "" {
		t.Errorf("the page has the inline attribute %s, which its policy forbids", inline)
	}
}

// The policy lets the page's own script and style run, and no other.
func TestConsolePolicyFitsThePage(t *testing.T) {
	got := newRig(t, nil).get(t, "/")
	policy := got.Header.Get("Content-Security-Policy")
	for _, element := range []string{"script", "style"} {
		inner := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllSubmatch(got.Body, -1)
		if len(inner) != 1 {
			t.Fatalf("got %d elements %s, want 1", len(inner), element)
		}
		sum := sha256.Sum256(inner[0][1])
		want := element + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		if !strings.Contains(policy, want) {
			t.Errorf("got policy %q, want %q in it", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("got policy %q, want none that is unsafe", policy)
	}
}

// Every field of a form has its label, and everything that a script fills in exists.
func TestConsoleIsWhole(t *testing.T) {
	page := string(newRig(t, nil).get(t, "/").Body)
	for _, m := range regexp.MustCompile(`el\("([a-z]+)"\)`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `id="`+m[1]+`"`) {
			t.Errorf("the script uses %q, which the page lacks", m[1])
		}
	}
	fields := len(regexp.MustCompile(`<(input|select)\b`).FindAllString(page, -1))
	labels := len(regexp.MustCompile(`<label\b[^>]*>[^<]*<(input|select)\b`).FindAllString(page, -1))
	if fields == 0 || fields != labels {
		t.Errorf("got %d fields and %d labels around them", fields, labels)
	}
}

// Before a token is typed there are no event types to choose from: a field that must be filled in would keep the form from asking.
func TestConsoleCanBeAskedBeforeAnythingIsKnown(t *testing.T) {
	if page := string(newRig(t, nil).get(t, "/").Body); strings.Contains(page, " required") {
		t.Error("a field of the form is required")
	}
}
