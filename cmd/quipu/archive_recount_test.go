package main

import (
	"strings"
	"testing"
)

func TestRecountSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	from, to := "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"
	for want, args := range map[string][]string{
		"flag --type is needed":                 {"--from", from, "--to", to},
		"flag --from is needed":                 {"--type", "view", "--to", to},
		"flag --to is needed":                   {"--type", "view", "--from", from},
		"flag --to must be after --from":        {"--type", "view", "--from", to, "--to", from},
		`flag --from must be a whole minute`:    {"--type", "view", "--from", "2026-11-22T00:00:30Z", "--to", to},
		`flag --to must be a whole minute like`: {"--type", "view", "--from", from, "--to", "tomorrow"},
	} {
		if got := quipu(t, nil, append([]string{"archive", "recount"}, args...)...); got.code != exitUsage || !strings.Contains(got.errors, want) {
			t.Errorf("%v: got %d %q, want it to say %q", args, got.code, got.errors, want)
		}
	}
}
