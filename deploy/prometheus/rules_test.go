// Package prometheus_test proves the alert rules: by promtool's unit tests, and against the code and the runbook.
package prometheus_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/quipudb/quipu/testkit"
)

const (
	rulesFile   = "quipu.rules.yaml"
	testsFile   = "quipu.rules.test.yaml"
	root        = "../.."
	runbookFile = "docs/runbook.md"
)

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	var content struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	load(t, rulesFile, &content)
	var all []rule
	for _, g := range content.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no rules")
	}
	return all
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestPromtool(t *testing.T) {
	promtool := testkit.Promtool(t)
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", testsFile}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Each alert has tests both ways.
func TestEachAlertIsTested(t *testing.T) {
	var content struct {
		Tests []struct {
			Alerts []struct {
				Name     string `yaml:"alertname"`
				Expected []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	load(t, testsFile, &content)
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range content.Tests {
		for _, a := range test.Alerts {
			if len(a.Expected) > 0 {
				fires[a.Name] = true
			} else {
				quiet[a.Name] = true
			}
		}
	}
	for _, r := range rules(t) {
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s: tested that it fires: %t, that it stays quiet: %t", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
}

// Each alert says how urgent it is and leads to an entry of the runbook, and each entry is an alert's.
func TestRunbookHasEachAlert(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, runbookFile))
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(data), -1) {
		entries[heading[1]] = true
	}
	for _, r := range rules(t) {
		if !entries[r.Alert] {
			t.Errorf("%s has no entry in %s", r.Alert, runbookFile)
		}
		delete(entries, r.Alert)
		if want := runbookFile + "#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s leads to %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s has severity %q", r.Alert, s)
		}
	}
	for entry := range entries {
		t.Errorf("%s has an entry for %s, which is no alert", runbookFile, entry)
	}
}

var metricName = regexp.MustCompile(`\bquipu_[a-z0-9_]+\b`)

// A rule on a metric that was renamed would never fire again.
func TestEachMetricExists(t *testing.T) {
	known := metricsOfTheCode(t)
	used := 0
	for _, r := range rules(t) {
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			used++
			if !known[name] && !known[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s: no code makes the metric %s", r.Alert, name)
			}
		}
	}
	if used == 0 || known["quipu_writer_no_such_thing"] {
		t.Error("the check checks nothing")
	}
}

// metricsOfTheCode reads the names of all metrics from the code that registers them: each file's whole names, and, where it begins names alike
// ("quipu_writer_" + name), that beginning with each other name in the file.
func metricsOfTheCode(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			return namesIn(path, known)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return known
}

func namesIn(path string, known map[string]bool) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	registers := false
	for _, i := range file.Imports {
		registers = registers || strings.Contains(i.Path.Value, "client_golang/prometheus")
	}
	if !registers {
		return nil
	}
	var beginnings, names []string
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		switch {
		case err != nil:
		case strings.HasPrefix(text, "quipu_") && strings.HasSuffix(text, "_"):
			beginnings = append(beginnings, text)
		case strings.HasPrefix(text, "quipu_"):
			known[text] = true
		case regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(text):
			names = append(names, text)
		}
		return true
	})
	for _, beginning := range beginnings {
		for _, name := range names {
			known[beginning+name] = true
		}
	}
	return nil
}
