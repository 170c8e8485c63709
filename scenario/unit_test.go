package scenario_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unit is what matters here of a systemd unit, for one instance of it.
type unit struct {
	exec             []string
	environment      []string // name=value
	environmentFiles []string // "-" ahead of those that may be missing
	credentials      map[string]string
	state            []string // state directories
	other            map[string]string
}

// hardening is what every unit must say.
var hardening = map[string]string{
	"User": "quipu", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
	"PrivateDevices": "yes", "ProtectKernelTunables": "yes", "ProtectControlGroups": "yes", "RestrictNamespaces": "yes", "MemoryDenyWriteExecute": "yes",
	"SystemCallArchitectures": "native", "UMask": "0077", "Restart": "always",
}

// readUnit reads the file of a unit like quipu-shard-proxy@s1.service. %i stands for the instance, %d for where credentials are.
func readUnit(t *testing.T, name, credentials string) unit {
	t.Helper()
	file, instance := name, ""
	if at := strings.IndexByte(name, '@'); at >= 0 {
		instance = strings.TrimSuffix(name[at+1:], ".service")
		file = name[:at+1] + ".service"
	}
	text, err := os.ReadFile(filepath.Join("..", "deploy", "systemd", file))
	if err != nil {
		t.Fatal(err)
	}
	u := unit{credentials: map[string]string{}, other: map[string]string{}}
	replace := strings.NewReplacer("%i", instance, "%d", credentials)
	for line := range strings.SplitSeq(string(text), "\n") {
		key, value, ok := strings.Cut(replace.Replace(line), "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		u.take(key, value)
	}
	for key, want := range hardening {
		if got, ok := u.other[key]; !ok || got != want {
			t.Errorf("%s has %s=%s, want %s", name, key, got, want)
		}
	}
	return u
}

func (u *unit) take(key, value string) {
	switch key {
	case "ExecStart":
		u.exec = strings.Fields(value)
	case "Environment":
		u.environment = append(u.environment, value)
	case "EnvironmentFile":
		u.environmentFiles = append(u.environmentFiles, value)
	case "LoadCredential":
		name, path, _ := strings.Cut(value, ":")
		u.credentials[name] = path
	case "StateDirectory":
		u.state = append(u.state, value)
	default:
		u.other[key] = value
	}
}

// hosts stands for the three hosts on one machine: each has a folder for its root, and each of its ports is one of this machine's.
type hosts struct {
	root  string
	ports map[string]int // "host1:8080" to a loopback port
}

var (
	addressOfHost = regexp.MustCompile(`\b(host[123]):(\d+)(?::(\d+))?`)
	portOfHost    = regexp.MustCompile(`(?m)(0\.0\.0\.0:|^clientPort=|^port = )(\d+)`)
)

// port is the loopback port that stands for a host's.
func (h *hosts) port(t *testing.T, host, number string) int {
	name := host + ":" + number
	if h.ports[name] == 0 {
		h.ports[name] = reservePort(t)
	}
	return h.ports[name]
}

// localise puts a text of a host's file into terms of this machine.
func (h *hosts) localise(t *testing.T, host, text string) string {
	t.Helper()
	text = addressOfHost.ReplaceAllStringFunc(text, func(address string) string {
		part := addressOfHost.FindStringSubmatch(address)
		local := fmt.Sprintf("127.0.0.1:%d", h.port(t, part[1], part[2]))
		if part[3] != "" {
			local += fmt.Sprintf(":%d", h.port(t, part[1], part[3]))
		}
		return local
	})
	text = portOfHost.ReplaceAllStringFunc(text, func(setting string) string {
		part := portOfHost.FindStringSubmatch(setting)
		return fmt.Sprintf("%s%d", strings.Replace(part[1], "0.0.0.0", "127.0.0.1", 1), h.port(t, host, part[2]))
	})
	for _, dir := range []string{"/etc/quipu", "/var/lib/"} {
		text = strings.ReplaceAll(text, dir, h.path(host, dir))
	}
	return text
}

// path is a path of a host.
func (h *hosts) path(host, path string) string {
	return filepath.Join(h.root, host) + path
}

// install copies a file of deploy/three-hosts to where it belongs on a host.
func (h *hosts) install(t *testing.T, host, name, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", "three-hosts", name))
	if err != nil {
		t.Fatal(err)
	}
	content := h.localise(t, host, string(text))
	h.write(t, host, path, content)
	return content
}

func (h *hosts) write(t *testing.T, host, path, content string) {
	t.Helper()
	path = h.path(host, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// environmentOf is what systemd would hand to a unit's process.
func (h *hosts) environmentOf(t *testing.T, host string, u unit) []string {
	t.Helper()
	set := map[string]string{}
	note := func(setting string) {
		name, value, ok := strings.Cut(setting, "=")
		if !ok {
			t.Fatalf("%q is no setting of a variable", setting)
		}
		set[name] = value
	}
	for _, setting := range u.environment {
		note(setting)
	}
	for _, file := range u.environmentFiles {
		path, optional := strings.CutPrefix(file, "-")
		text, err := os.ReadFile(h.path(host, path))
		if optional && os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				note(line)
			}
		}
	}
	var environment []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		environment = append(environment, name+"="+set[name])
	}
	return environment
}
