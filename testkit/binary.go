package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// BinaryVariable names the environment variable that holds the path of a quipu
// program to test instead of one built from this source.
const BinaryVariable = "QUIPU_TEST_BINARY"

var builtBinary = sync.OnceValues(buildBinary)

// Binary is the path of the quipu program, built from this source once a test
// process.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := BuildBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// BuildBinary is Binary for TestMain and for programs.
func BuildBinary() (string, error) {
	if given := os.Getenv(BinaryVariable); given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("%s: %w", BinaryVariable, err)
		}
		return filepath.Abs(path)
	}
	return builtBinary()
}

func buildBinary() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	return buildProgram(root, "quipu-test", func(built string) *exec.Cmd {
		build := exec.Command("go", "build", "-o", built, "./cmd/quipu")
		build.Dir = root
		return build
	})
}

// buildProgram builds a program into the source's bin folder. Several test processes may do
// so at once: each puts a finished program in place in one step, and what already
// runs keeps its own file.
func buildProgram(root, name string, command func(built string) *exec.Cmd) (string, error) {
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	scratch, err := os.MkdirTemp(bin, ".build-")
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	defer os.RemoveAll(scratch)
	built := filepath.Join(scratch, name)
	if out, err := command(built).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	path := filepath.Join(bin, name)
	if err := os.Rename(built, path); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return path, nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == os.DevNull {
		return "", errors.New("find the module: not inside one")
	}
	return filepath.Dir(file), nil
}
