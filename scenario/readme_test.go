package scenario_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// firstExample is the first block of commands below the heading in README.md.
func firstExample(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n## Try it\n.*?\n```sh\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("README.md has no block of commands below \"## Try it\"")
	}
	return strings.Split(strings.TrimSpace(string(block[1])), "\n")
}

// TestReadmeExample runs README's first example as pasted: in the folder where `make up` was started, on the standard ports unless
// another program has them.
func TestReadmeExample(t *testing.T) {
	commands := firstExample(t)
	testkit.Binary(t) // is built from the folder that the test starts in
	t.Chdir(t.TempDir())
	ports := "8080"
	if !local.PortFree(8080) || !local.PortFree(8081) {
		ports = "-1"
	}
	d := launch(t, "data", "--no-sample", "--port-base", ports).describe(t)
	want := []string{`"accepted":1`, `"value":340`, " 340 "}
	if len(commands) != len(want) {
		t.Fatalf("README's first example has %d commands, want %d: %q", len(commands), len(want), commands)
	}
	for range 2 { // the second time the event is a duplicate
		for i, command := range commands {
			for role, port := range map[string]int{"ingest": 8080, "reader": 8081} {
				command = strings.ReplaceAll(command, fmt.Sprintf("http://127.0.0.1:%d/", port), d.URLs[role]+"/")
			}
			if out := triesOut(t, command); !strings.Contains(out, want[i]) {
				t.Errorf("%s\nprints %q, want it to hold %q", command, out, want[i])
			}
		}
	}
}
