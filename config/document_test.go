package config

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// TestEverySettingIsDocumentedAndDefaulted holds quipu.yaml against the structs: a comment right above every section and setting.
func TestEverySettingIsDocumentedAndDefaulted(t *testing.T) {
	e := Effective{Origins: map[string]string{}}
	if errs := e.readYAML("quipu.yaml", Reference()); len(errs) > 0 {
		t.Fatal(errs)
	}
	lines := strings.Split(string(Reference()), "\n")
	for _, s := range settings() {
		if s.secret() {
			if !strings.Contains(string(Reference()), s.env()) {
				t.Errorf("quipu.yaml does not say that %s comes from %s", s.path, s.env())
			}
			continue
		}
		origin, ok := e.Origins[s.path]
		if !ok {
			t.Errorf("quipu.yaml has no default of %s", s.path)
			continue
		}
		line := lineOf(t, origin)
		if !strings.HasPrefix(strings.TrimSpace(lines[line-2]), "# ") {
			t.Errorf("quipu.yaml:%d: %s has no comment above it", line, s.path)
		}
	}
	for i, line := range lines {
		if strings.HasSuffix(line, ":") && !strings.HasPrefix(strings.TrimSpace(line), "#") && !strings.HasPrefix(strings.TrimSpace(lines[i-1]), "# ") {
			t.Errorf("quipu.yaml:%d: the section %s has no comment above it", i+1, line)
		}
	}
}

func lineOf(t *testing.T, origin string) int {
	t.Helper()
	line := 0
	for _, digit := range origin[strings.LastIndex(origin, ":")+1:] {
		line = 10*line + int(digit-'0')
	}
	return line
}

func TestEveryNumberHasARange(t *testing.T) {
	for _, s := range settings() {
		if !s.field.Type.ConvertibleTo(reflect.TypeFor[float64]()) {
			continue
		}
		low, high, ok := strings.Cut(s.field.Tag.Get("range"), "..")
		if !ok || low == "" || high == "" {
			t.Errorf("%s has no range", s.path)
		}
	}
}

func TestEnvironmentNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, s := range settings() {
		if other, ok := seen[s.env()]; ok {
			t.Errorf("%s and %s share the variable %s", s.path, other, s.env())
		}
		seen[s.env()] = s.path
	}
}

func TestDurationsAndSizesReadAsWritten(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0s", "0s": "0s", "500ms": "500ms", "90m": "1h30m", "24h": "1d", "7d": "7d", "1d12h": "1d12h", "36h": "1d12h", "1m0.5s": "1m0.5s", "3600s": "1h", "10m": "10m", "1h0m5s": "1h0m5s",
	} {
		d, err := ParseDuration(text)
		if err != nil || FormatDuration(d) != want {
			t.Errorf("got %q, %v for the duration %q, want %q", FormatDuration(d), err, text, want)
		}
	}
	for text, want := range map[string]string{"0": "0B", "1024B": "1KiB", "64MiB": "64MiB", "2048 KiB": "2MiB", "1500B": "1500B", "1TiB": "1TiB"} {
		s, err := ParseSize(text)
		if err != nil || s.String() != want {
			t.Errorf("got %q, %v for the size %q, want %q", s, err, text, want)
		}
	}
	for _, bad := range []string{"", "d", "7", "1d1d", "-1s", "1w", "99999999999d", "106751d24h", "1e3s", "NaN", "1_000s"} {
		if d, err := ParseDuration(bad); err == nil {
			t.Errorf("got %v for the duration %q, want an error", d, bad)
		}
	}
	for _, bad := range []string{"", "MiB", "-1B", "1.5KiB", "1kib", "9223372036854775808B", "8388608TiB"} {
		if s, err := ParseSize(bad); err == nil {
			t.Errorf("got %v for the size %q, want an error", s, bad)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("log:\n  level: info\n"))
	f.Add([]byte("auth: {tokens: [{name: a, scopes: [x]}]}"))
	f.Add([]byte("? a\n: b\n"))
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("cluster: {zone: !!str 7}\n<<: 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2<<10 {
			return // the parser's time grows with the square of some inputs
		}
		e := Effective{Config: Default(), Origins: map[string]string{}}
		if errs := e.readYAML("f.yaml", data); len(errs) > 0 {
			return
		}
		var out bytes.Buffer
		if err := e.Print(&out); err != nil {
			t.Fatal(err)
		}
	})
}
