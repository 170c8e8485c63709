package main

import (
	"strings"
	"testing"
)

// Command lines of quipu archive that can't be used say why, before anything is asked.
func TestArchiveCommandLines(t *testing.T) {
	cold := []string{"QUIPU_ARCHIVE_URL=/tmp/cold"}
	for name, c := range map[string]struct {
		environ []string
		args    string
		want    string
	}{
		"nothing to archive to":  {nil, "verify", "there is no cold storage: archive.url is empty"},
		"no such day":            {cold, "verify --from 2026-02-30", `flag --from must be a day like 2026-01-31, is "2026-02-30"`},
		"days in the wrong row":  {cold, "compact --from 2026-02-03 --to 2026-02-03", "flag --to must be after --from"},
		"more than everything":   {cold, "verify --sample 1.5", "flag --sample must be 0 to 1, is 1.5"},
		"an instant is needed":   {cold, "run", "flag --until is needed"},
		"not into the future":    {cold, "run --until 2999-01-01T00:00:00Z", "flag --until must not be in the future"},
		"no such resolution":     {cold, "run --until 2026-01-01T00:00:00Z --resolution week", `flag --resolution must be minute, hour or day, is "week"`},
		"restore of everything":  {cold, "restore --from 2026-01-01", "flags --from and --to are needed"},
		"restore of seconds":     {cold, "restore --from 2026-01-01 --to 2026-01-02 --resolution second", "flag --resolution must be minute, hour or day"},
		"a command is missing":   {cold, "", "a command is missing"},
		"arguments are too many": {cold, "status s1", "s1"},
	} {
		got := quipu(t, c.environ, append([]string{"archive"}, strings.Fields(c.args)...)...)
		if got.code != exitUsage || !strings.Contains(got.errors, c.want) {
			t.Errorf("%s: got code %d and %q, want %d and %q", name, got.code, got.errors, exitUsage, c.want)
		}
	}
}
