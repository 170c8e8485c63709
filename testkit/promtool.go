package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Promtool is the path of Prometheus's promtool: on the PATH, or where deploy/install.sh --tests unpacked it.
func Promtool(t testing.TB) string {
	t.Helper()
	path, err := findPromtool()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func findPromtool() (string, error) {
	if path, err := exec.LookPath("promtool"); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "quipu", "promtool")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("promtool is neither on the PATH nor at %s: deploy/install.sh --tests gets it", path)
	}
	return path, nil
}
