package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/config"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "quipu.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreValid(t *testing.T) {
	defaults := config.Default()
	if err := defaults.Validate(); err != nil {
		t.Error(err)
	}
	if got, want := defaults.Ingest.MaxBody, 8*config.MiB; got != want {
		t.Errorf("got ingest.max_body %v, want %v", got, want)
	}
	if got, want := defaults.Cluster.Window, 10*time.Minute; got != want {
		t.Errorf("got cluster.window %v, want %v", got, want)
	}
}

func TestTheReferenceFileIsTheDefaults(t *testing.T) {
	got, err := config.Load("quipu.yaml", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), got.Config); diff != "" {
		t.Errorf("quipu.yaml differs from the defaults (−default +file):\n%s", diff)
	}
}

func TestLayersOverrideEachOther(t *testing.T) {
	path := write(t, `
cluster:
  zookeeper: [zk1:2181, zk2:2181]
ingest:
  max_body: 1MiB
  accept_ahead: 1m
  max_events: 500
reader: # everything below is commented out
  # max_wait: 1s
`)
	got, err := config.Load(path,
		[]string{"QUIPU_INGEST_MAX_EVENTS=600", "QUIPU_CLUSTER_ZONE=east", "HOME=/root", "QUIPU_READER_SERVICE_HOST=10.0.0.1", "QUIPU_TOKEN=x"},
		[]config.Override{{Path: "cluster.zone", Value: "west", Flag: "--set"}, {Path: "cluster.zookeeper", Value: "a:1, b:2", Flag: "--zookeeper"}})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Cluster.ZooKeeper = []string{"a:1", "b:2"}
	want.Cluster.Zone = "west"
	want.Ingest.MaxBody = config.MiB
	want.Ingest.AcceptAhead = time.Minute
	want.Ingest.MaxEvents = 600
	if diff := cmp.Diff(want, got.Config); diff != "" {
		t.Errorf("configuration differs (−want +got):\n%s", diff)
	}
	for setting, origin := range map[string]string{
		"ingest.max_body": path + ":5", "ingest.max_events": "environment QUIPU_INGEST_MAX_EVENTS", "cluster.zone": "flag --set",
		"cluster.zookeeper": "flag --zookeeper", "reader.max_wait": "default",
	} {
		if got := got.Origins[setting]; got != origin {
			t.Errorf("got origin %q of %s, want %q", got, setting, origin)
		}
	}
	if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "QUIPU_READER_SERVICE_HOST") {
		t.Errorf("got warnings %q, want one about the unknown variable", got.Warnings)
	}
}

func TestBadFilesNameLineAndSetting(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	tests := map[string]struct{ yaml, want string }{
		"unknown section":       {"ingset:\n  listen: a:1\n", `1: ingset: unknown setting; did you mean ingest?`},
		"unknown key":           {"ingest:\n  listen: a:1\n  max_boddy: 1MiB\n", `3: ingest.max_boddy: unknown setting; did you mean max_body?`},
		"nothing like it":       {"log:\n  zzzzzzzzz: 1\n", `2: log.zzzzzzzzz: unknown setting`},
		"unknown key, nested":   {"accounts:\n  apply:\n    usr: x\n", `3: accounts.apply.usr: unknown setting; did you mean user?`},
		"unknown key in a list": {"auth:\n  tokens:\n    - name: a\n      scopes: [read]\n      sha: x\n", `5: auth.tokens[0].sha: unknown setting`},
		"duration without unit": {"writer:\n  flush_interval: 5\n", `2: writer.flush_interval: "5" lacks a unit: ms, s, m, h or d`},
		"duration, fraction":    {"writer:\n  flush_interval: 0.5\n", `2: writer.flush_interval: "0.5" lacks a unit: ms, s, m, h or d`},
		"duration, bad unit":    {"writer:\n  flush_interval: 5 parsecs\n", `2: writer.flush_interval: "5 parsecs" is no duration: write it like 500ms, 1h30m or 7d`},
		"duration, negative":    {"writer:\n  flush_interval: -5s\n", `2: writer.flush_interval: "-5s" is negative`},
		"duration, true":        {"writer:\n  flush_interval: true\n", `2: writer.flush_interval: must be a duration like 500ms, 1h30m or 7d, is true (in quotes it would be a text)`},
		"size without unit":     {"ingest:\n  max_body: 100\n", `2: ingest.max_body: "100" lacks a unit: B, KiB, MiB, GiB or TiB`},
		"size, decimal unit":    {"ingest:\n  max_body: 8MB\n", `2: ingest.max_body: "8MB" has the unknown unit "MB": use B, KiB, MiB, GiB or TiB`},
		"size, fraction":        {"ingest:\n  max_body: 1.5MiB\n", `2: ingest.max_body: "1.5MiB" is no size: write a whole number and a unit, like 64MiB`},
		"size, too large":       {"ingest:\n  max_body: 99999999999TiB\n", `2: ingest.max_body: "99999999999TiB" is too large a size`},
		"number for a text":     {"cluster:\n  zone: 7\n", `2: cluster.zone: must be a text, is the number 7 (in quotes it would be a text)`},
		"text for a number":     {"ingest:\n  max_events: many\n", `2: ingest.max_events: must be a whole number, is "many"`},
		"quoted number":         {"ingest:\n  max_events: \"7\"\n", `2: ingest.max_events: must be a whole number, is the text "7"`},
		"fraction for a number": {"ingest:\n  max_events: 1.5\n", `2: ingest.max_events: must be a whole number, is the number 1.5 (in quotes it would be a text)`},
		"huge number":           {"ingest:\n  max_events: 99999999999999999999\n", `2: ingest.max_events: 99999999999999999999 is too large a number`},
		"list for a text":       {"log:\n  level: [info]\n", `2: log.level: must be a text, is a list`},
		"text for a list":       {"cluster:\n  zookeeper: zk1:2181\n", `2: cluster.zookeeper: must be a list, is the text "zk1:2181"`},
		"number in a list":      {"cluster:\n  zookeeper: [zk1:2181, 7]\n", `2: cluster.zookeeper[1]: must be a text, is the number 7 (in quotes it would be a text)`},
		"text for a section":    {"log: info\n", `1: log: must be a section of settings, is the text "info"`},
		"empty value":           {"log:\n  level:\n", `2: log.level: must be a text, is empty`},
		"twice":                 {"log:\n  level: info\n  format: text\n  level: warn\n", `4: mapping key "level" already defined at [2:3]`},
		"tab":                   {"log:\n\tlevel: info\n", "2: a tab, where YAML wants blanks"},
		"no YAML":               {"log: [\n", `1: `},
		"two documents":         {"log:\n  level: info\n---\nlog:\n  level: warn\n", `there is more than one YAML document`},
		"not a mapping":         {"- a\n", "must be a section of settings, is a list"},
		"password in the file":  {"accounts:\n  apply:\n    password: hunter2\n", `3: accounts.apply.password: secrets are not kept here: use accounts.apply.password_file, or the environment variable QUIPU_ACCOUNTS_APPLY_PASSWORD`},
		"alias":                 {"log: &a\n  level: info\nhttp: *a\n", "1: log: must be a section of settings, is anchor"},

		"out of range":       {"http:\n  drain: 11m\n", `2: http.drain: must be from 0s to 10m, is 11m`},
		"below range":        {"ingest:\n  max_body: 1B\n", `2: ingest.max_body: must be from 1KiB to 64MiB, is 1B`},
		"number below range": {"shard_proxy:\n  read_connections: 0\n", `2: shard_proxy.read_connections: must be from 1 to 1000, is 0`},
		"not one of":         {"log:\n  level: warning\n", `2: log.level: must be one of debug, info, warn, error, is "warning"; did you mean warn?`},
		"address":            {"reader:\n  listen: 127.0.0.1\n", `2: reader.listen: must be host:port, is "127.0.0.1"`},
		"port":               {"reader:\n  listen: 127.0.0.1:http\n", `2: reader.listen: must be host:port with a port from 1 to 65535, is "127.0.0.1:http"`},
		"advertise":          {"reader:\n  advertise: 10.0.0.5:8080\n", `2: reader.advertise: must be a base address like http://10.0.0.5:8080, is "10.0.0.5:8080"`},
		"no servers":         {"cluster:\n  zookeeper: []\n", `2: cluster.zookeeper: must name at least one server`},
		"server":             {"cluster:\n  zookeeper: [zk1]\n", `2: cluster.zookeeper[0]: must be host:port, is "zk1"`},
		"root":               {"cluster:\n  root: /\n", `2: cluster.root: must be a path like /quipu, is "/"`},
		"scope":              {"auth:\n  tokens: [{name: a, scopes: [reed], sha256: " + hash + "}]\n", `2: auth.tokens[0].scopes: must be one of write, read, sql, admin, internal, is "reed"; did you mean read?`},
		"no scopes":          {"auth:\n  tokens: [{name: a, sha256: " + hash + "}]\n", `2: auth.tokens[0].scopes: must name at least one of write, read, sql, admin, internal`},
		"token's hash":       {"auth:\n  tokens: [{name: a, scopes: [read], sha256: abc}]\n", `2: auth.tokens[0].sha256: must be 64 hex digits`},
		"relation":           {"writer:\n  max_flush_interval: 500ms\n", `2: writer.max_flush_interval: must be at least writer.flush_interval, 1s`},
		"short retention":    {"retention:\n  minutes: 1d\n", `2: retention.minutes: must be at least 2d, or 0s for ever`},
		"coarse goes first":  {"retention:\n  hours: 7d\n", `2: retention.hours: must be at least retention.minutes, 8d, or 0s for ever`},
		"days go first":      {"retention:\n  hours: 0s\n  days: 900d\n", `3: retention.days: must be at least retention.hours, for ever, or 0s for ever`},
		"quick drop":         {"archive:\n  drop_delay: 10s\n", `2: archive.drop_delay: must be at least the longest read, 20s`},
		"no grace":           {"archive:\n  delete_grace: 1m\n", `2: archive.delete_grace: must be at least archive.drop_delay, 2m`},
		"nowhere to archive": {"archive:\n  url: cold\n", `2: archive.url: must be a folder, /var/lib/quipu/cold or file:///var/lib/quipu/cold, or s3://bucket, is "cold"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.yaml)
			_, err := config.Load(path, nil, nil)
			if err == nil {
				t.Fatalf("got no error, want %q", test.want)
			}
			if got := err.Error(); !strings.HasPrefix(got, path+":") || !strings.Contains(got, test.want) || strings.Contains(got, "\n") {
				t.Errorf("got error %q, want one line that names %s and says %q", got, path, test.want)
			}
		})
	}
}

func TestEveryErrorIsListed(t *testing.T) {
	_, err := config.Load(write(t, "log:\n  levle: info\ningest:\n  max_events: x\n  max_body: 5\n"), nil, nil)
	if got := config.List(err); len(got) != 3 {
		t.Errorf("got %d errors, want 3: %q", len(got), got)
	}
	if want := "(and 2 more; quipu config check lists them)"; !strings.HasSuffix(fmt.Sprint(err), want) {
		t.Errorf("got %q, want it to end in %q", err, want)
	}
}

func TestMissingAndLongFilesAreErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no.yaml")
	if _, err := config.Load(missing, nil, nil); err == nil || err.Error() != missing+": no such file or directory" {
		t.Errorf("got %v for a missing file", err)
	}
	long := write(t, strings.Repeat("# long\n", 1<<18))
	if _, err := config.Load(long, nil, nil); err == nil || !strings.Contains(err.Error(), "longer than 1 MiB") {
		t.Errorf("got %v for a long file", err)
	}
	if _, err := config.Load(write(t, ""), nil, nil); err != nil {
		t.Errorf("got %v for an empty file, want none", err)
	}
}

func TestBadEnvironmentAndFlags(t *testing.T) {
	tests := map[string]struct {
		environ  []string
		override config.Override
		want     string
	}{
		"environment":        {environ: []string{"QUIPU_INGEST_MAX_BODY=8"}, want: `environment QUIPU_INGEST_MAX_BODY: ingest.max_body: "8" lacks a unit`},
		"environment, range": {environ: []string{"QUIPU_SHARD_PROXY_READ_CONNECTIONS=0"}, want: `environment QUIPU_SHARD_PROXY_READ_CONNECTIONS: shard_proxy.read_connections: must be from 1 to 1000, is 0`},
		"environment, list":  {environ: []string{"QUIPU_AUTH_TOKENS=[{nam: a}]"}, want: `environment QUIPU_AUTH_TOKENS: auth.tokens[0].nam: unknown setting; did you mean name?`},
		"flag":               {override: config.Override{Path: "log.level", Value: "loud", Flag: "--log-level"}, want: `flag --log-level: log.level: must be one of`},
		"flag, unknown":      {override: config.Override{Path: "log.levle", Value: "info", Flag: "--set"}, want: `flag --set: log.levle: unknown setting; did you mean log.level?`},
		"flag, secret":       {override: config.Override{Path: "accounts.read.password", Value: "hunter2", Flag: "--set"}, want: `flag --set: accounts.read.password: secrets are not given in flags`},
		"flag, section":      {override: config.Override{Path: "log", Value: "info", Flag: "--set"}, want: `flag --set: log: unknown setting`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var overrides []config.Override
			if test.override.Path != "" {
				overrides = append(overrides, test.override)
			}
			_, err := config.Load("", test.environ, overrides)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that says %q", err, test.want)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestListsInTheEnvironment(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	got, err := config.Load("", []string{
		"QUIPU_CLUSTER_ZOOKEEPER=[\"a:1\", \"b:2\"]", "QUIPU_AUTH_TOKENS=[{name: a, scopes: [read, write], sha256: " + hash + "}]",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a:1", "b:2"}, got.Cluster.ZooKeeper); diff != "" {
		t.Errorf("servers differ (−want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]config.Token{{Name: "a", Scopes: []string{"read", "write"}, SHA256: hash}}, got.Auth.Tokens); diff != "" {
		t.Errorf("tokens differ (−want +got):\n%s", diff)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	got, err := config.Load("", []string{"QUIPU_ACCOUNTS_APPLY_PASSWORD=hunter2", "QUIPU_AUTH_INTERNAL_TOKEN=hunter2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var printed, logged bytes.Buffer
	if err := got.Print(&printed); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "account", got.Accounts.Apply, "secret", got.Accounts.Apply.Password, "all", got.Config)
	encoded, err := json.Marshal(got.Config)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"Print": printed.String(), "log": logged.String(), "JSON": string(encoded), "%v": fmt.Sprintf("%v", got.Config),
		"%+v": fmt.Sprintf("%+v", got.Config), "%#v": fmt.Sprintf("%#v", got.Config),
		"one by itself": fmt.Sprintf("%v %+v %#v %q %x", got.Auth.InternalToken, got.Auth.InternalToken, got.Auth.InternalToken, got.Auth.InternalToken, got.Auth.InternalToken),
	} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("%s shows a secret: %s", name, text)
		}
	}
	if want := "# password: (redacted)  # environment QUIPU_ACCOUNTS_APPLY_PASSWORD"; !strings.Contains(printed.String(), want) {
		t.Errorf("Print lacks %q", want)
	}
	password, err := got.Accounts.Apply.ReadPassword()
	if err != nil || password != "hunter2" {
		t.Errorf("got password %q, %v, want that of the environment", password, err)
	}
}

func TestPasswordsComeFromFiles(t *testing.T) {
	tests := map[string]struct {
		content string
		want    string
		err     string
	}{
		"line":           {"hunter2\n", "hunter2", ""},
		"no end of line": {"hunter2", "hunter2", ""},
		"inner spaces":   {" hunter 2 \r\n", " hunter 2 ", ""},
		"empty":          {"\n", "", "must hold one line"},
		"two lines":      {"hunter2\nhunter3\n", "", "must hold one line"},
		"far too long":   {strings.Repeat("x", 5000), "", "must hold one line"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.content)
			got, err := config.Account{User: "quipu_read", PasswordFile: path}.ReadPassword()
			if got != test.want || (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %q, %v, want %q, %q", got, err, test.want, test.err)
			}
		})
	}
	if _, err := (config.Account{User: "quipu_read"}).ReadPassword(); err == nil || !strings.Contains(err.Error(), "quipu_read") {
		t.Errorf("got %v without any password, want an error that names the user", err)
	}
	if token, err := (config.Auth{}).ReadInternalToken(); token != "" || err != nil {
		t.Errorf("got %q, %v without an internal token, want none", token, err)
	}
}

func TestWhatPrintWritesCanBeReadAgain(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	want, err := config.Load(write(t, "cluster:\n  zone: \"east: 1 # a\"\n  session_timeout: 1m30s\nauth:\n  tokens: [{name: a, scopes: [read], sha256: "+hash+"}]\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := want.Print(&text); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(write(t, text.String()), nil, nil)
	if err != nil {
		t.Fatalf("read %s: %v", text.String(), err)
	}
	if diff := cmp.Diff(want.Config, got.Config); diff != "" {
		t.Errorf("configuration differs (−want +got):\n%s", diff)
	}
}
