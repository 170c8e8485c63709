package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files anew")

// outcome is what a command line led to.
type outcome struct {
	code        int
	out, errors string
}

func quipu(t *testing.T, environ []string, args ...string) outcome {
	t.Helper()
	return quipuIn(t.Context(), environ, "", args...)
}

func quipuIn(ctx context.Context, environ []string, stdin string, args ...string) outcome {
	var out, errs bytes.Buffer
	code := execute(ctx, &process{args: args, environ: environ, stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs})
	return outcome{code, out.String(), errs.String()}
}

func everyCommand(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		all = append(all, everyCommand(sub)...)
	}
	return all
}

func TestEveryCommandIsDocumented(t *testing.T) {
	root := newRootCommand(&process{})
	for _, c := range everyCommand(root) {
		if c.Short == "" || len(c.Long) <= len(c.Short) || c.Example == "" {
			t.Errorf("%q lacks a short text, a longer text, or an example", c.CommandPath())
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			if !strings.Contains(line, "quipu") || !strings.HasPrefix(line, "  ") {
				t.Errorf("%q has the example %q, which is no indented command line", c.CommandPath(), line)
			}
		}
		if strings.HasSuffix(c.Short, ".") {
			t.Errorf("%q: its short text ends in a full stop", c.CommandPath())
		}
	}
}

// TestHelp holds the help of every command against testdata/help; -update writes it anew.
func TestHelp(t *testing.T) {
	root := newRootCommand(&process{})
	seen := map[string]bool{}
	for _, c := range everyCommand(root) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".txt"
		seen[name] = true
		t.Run(c.CommandPath(), func(t *testing.T) {
			got := quipu(t, nil, append(strings.Fields(c.CommandPath())[1:], "--help")...)
			if got.code != exitDone || got.errors != "" {
				t.Errorf("got exit code %d and %q", got.code, got.errors)
			}
			golden(t, filepath.Join("testdata", "help", name), got.out)
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "help"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !seen[file.Name()] {
			t.Errorf("testdata/help/%s belongs to no command", file.Name())
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (−want +got; -update writes it anew):\n%s", path, diff)
	}
}

func TestBadCommandLinesAreUsageErrors(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"unknown command":        {[]string{"ingset"}, `quipu: unknown command "ingset"`},
		"unknown subcommand":     {[]string{"migrate", "upp"}, `quipu migrate: unknown command "upp"; did you mean up?`},
		"unknown flag":           {[]string{"version", "--verbose"}, `quipu version: unknown flag: --verbose`},
		"missing subcommand":     {[]string{"token"}, `quipu token: a command is missing`},
		"missing argument":       {[]string{"event-type", "create"}, `quipu event-type create: NAME is missing`},
		"needless argument":      {[]string{"version", "now"}, `quipu version: unexpected argument "now"`},
		"second argument":        {[]string{"migrate", "goto", "3", "4"}, `quipu migrate goto: unexpected argument "4" behind VERSION`},
		"two configurations":     {[]string{"config", "check", "a.yaml", "--config", "b.yaml"}, `quipu config check: both FILE and --config are given`},
		"bad duration":           {[]string{"event-type", "create", "view", "--accept-late", "120"}, `invalid argument "120" for "--accept-late" flag: "120" lacks a unit`},
		"bad name":               {[]string{"event-type", "create", "View"}, `quipu event-type create: invalid event type: name "View" must be`},
		"bad version":            {[]string{"migrate", "goto", "four"}, `quipu migrate goto: a version must be a whole number, is "four"`},
		"force without shard":    {[]string{"migrate", "force", "3"}, `quipu migrate force: flag --shard is needed`},
		"init without topology":  {[]string{"cluster", "init"}, `quipu cluster init: flag --topology is needed`},
		"token without scopes":   {[]string{"token", "create", "a"}, `quipu token create: flag --scopes is needed`},
		"token of unknown scope": {[]string{"token", "create", "a", "--scopes", "root"}, `quipu token create: unknown scope "root"`},
		"no shards":              {[]string{"up", "--shards", "0"}, `quipu up: flag --shards must be at least 1, is 0`},
		"negative partitions":    {[]string{"up", "--partitions", "-4"}, `quipu up: flag --partitions must be at least 1, is -4`},
		"set without value":      {[]string{"config", "print", "--set", "log.level"}, `quipu config print: flag --set must be section.key=value, is "log.level"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := quipu(t, nil, test.args...)
			if got.code != exitUsage {
				t.Errorf("got exit code %d, want %d", got.code, exitUsage)
			}
			first, rest, _ := strings.Cut(got.errors, "\n")
			if !strings.Contains(first, test.want) || !strings.HasPrefix(first, "quipu") {
				t.Errorf("got %q, want a line that says %q", first, test.want)
			}
			if !strings.HasPrefix(rest, "Run 'quipu") || strings.Count(rest, "\n") != 1 {
				t.Errorf("got %q after it, want one line that points at the help", rest)
			}
		})
	}
}

func TestBadConfigurationIsToldInOneLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "quipu.yaml")
	if err := os.WriteFile(path, []byte("ingest:\n  max_boddy: 1MiB\n  max_events: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := quipu(t, nil, "event-type", "list", "--config", path)
	want := "quipu event-type list: " + path + ":2: ingest.max_boddy: unknown setting; did you mean max_body?\n"
	if got.code != exitUsage || got.errors != want {
		t.Errorf("got %d %q, want %d %q", got.code, got.errors, exitUsage, want)
	}
	if got := quipu(t, []string{"QUIPU_CONFIG=" + path}, "config", "check"); got.code != exitUsage || !strings.Contains(got.errors, path) {
		t.Errorf("got %d %q with QUIPU_CONFIG, want %d", got.code, got.errors, exitUsage)
	}
}

func TestConfigCheckListsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "quipu.yaml")
	if err := os.WriteFile(path, []byte("log:\n  level: loud\nhttp:\n  drain: 1d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := quipu(t, nil, "config", "check", path)
	for _, want := range []string{path + ":2: log.level: must be one of", path + ":4: http.drain: must be from", "2 settings can't be used"} {
		if !strings.Contains(got.errors, want) {
			t.Errorf("got %q, want it to say %q", got.errors, want)
		}
	}
	if got.code != exitUsage {
		t.Errorf("got exit code %d, want %d", got.code, exitUsage)
	}
	if got := quipu(t, []string{"QUIPU_SERVICE_HOST=10.0.0.1"}, "config", "check"); got.code != exitDone || !strings.Contains(got.errors, "QUIPU_SERVICE_HOST") {
		t.Errorf("got %d %q for the defaults and a foreign variable, want 0 and a warning", got.code, got.errors)
	}
}

func TestErrorsOfSeveralLinesAreToldInOne(t *testing.T) {
	if got, want := oneLine(errors.Join(errors.New("a  b"), errors.New("c:\n  d"))), "a b; c:; d"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConfigPrint(t *testing.T) {
	got := quipu(t, []string{"QUIPU_AUTH_INTERNAL_TOKEN=hunter2"}, "config", "print", "--zookeeper", "a:1,b:2", "--set", "reader.max_wait=5s")
	for _, want := range []string{
		`zookeeper: ["a:1", "b:2"]  # flag --zookeeper`, `max_wait: 5s  # flag --set`, `level: "info"  # default`, `# internal_token: (redacted)  # environment`,
	} {
		if !strings.Contains(got.out, want) {
			t.Errorf("got %s, want it to say %q", got.out, want)
		}
	}
	if got.code != exitDone || strings.Contains(got.out, "hunter2") {
		t.Errorf("got exit code %d and %s", got.code, got.out)
	}
	reference, err := os.ReadFile("../../config/quipu.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := quipu(t, nil, "config", "print", "--defaults"); got.out != string(reference) {
		t.Error("--defaults does not print the reference file")
	}
}

func TestTokenCreate(t *testing.T) {
	got := quipu(t, nil, "token", "create", "dashboard", "--scopes", "read,write")
	if got.code != exitDone || !strings.Contains(got.out, "token:          quipu_") ||
		!strings.Contains(got.out, "in auth.tokens: {name: dashboard, scopes: [read, write], sha256: ") {
		t.Errorf("got %+v", got)
	}
	_, entry, _ := strings.Cut(got.out, "in auth.tokens: ")
	if got := quipu(t, []string{"QUIPU_AUTH_TOKENS=[" + strings.TrimSpace(entry) + "]"}, "config", "check"); got.code != exitDone {
		t.Errorf("the line for the configuration is refused: %s", got.errors)
	}
}

func TestVersion(t *testing.T) {
	if got := quipu(t, nil, "version"); got.code != exitDone || !strings.HasPrefix(got.out, "quipu "+version) || strings.Count(got.out, "\n") != 1 {
		t.Errorf("got %+v", got)
	}
}
