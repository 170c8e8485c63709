package testkit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// DuckDB runs SQL statements in a new DuckDB in memory and returns the rows of the last one. Numbers beyond 32 bits, decimals and times come as texts. It needs
// Node.js and npm; DuckDB's package is fetched once and kept in the user's cache folder.
func DuckDB(t testing.TB, statements ...string) []map[string]any {
	t.Helper()
	dir, err := installedDuckDB()
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(statements)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	query := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "query.mjs"))
	query.Stdin, query.Stdout, query.Stderr = bytes.NewReader(input), &stdout, &stderr
	if err := query.Run(); err != nil {
		t.Fatalf("DuckDB: %v\n%s\n%s", err, strings.Join(statements, ";\n"), stderr.String())
	}
	var rows []map[string]any
	if err := json.Unmarshal(stdout.Bytes(), &rows); err != nil {
		t.Fatalf("DuckDB: %v: %s", err, stdout.String())
	}
	return rows
}

// installedDuckDB installs the package beside a copy of the program that uses it, once a machine and version of the two.
var installedDuckDB = sync.OnceValues(func() (string, error) {
	dir, err := installDuckDB()
	if err != nil {
		return "", fmt.Errorf("install DuckDB for Node.js: %w", err)
	}
	return dir, nil
})

func installDuckDB() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	files := map[string][]byte{}
	hash := sha256.New()
	for _, name := range []string{"package.json", "query.mjs"} {
		if files[name], err = os.ReadFile(filepath.Join(root, "tools", "duckdb", name)); err != nil {
			return "", err
		}
		hash.Write(files[name])
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	parent := filepath.Join(cache, "quipu")
	dir := filepath.Join(parent, "duckdb-"+hex.EncodeToString(hash.Sum(nil)[:8]))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(filepath.Join(parent, "duckdb.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	// A finished folder gets its name in one step.
	scratch, err := os.MkdirTemp(parent, ".duckdb-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(scratch, name), content, 0o644); err != nil {
			return "", err
		}
	}
	install := exec.Command("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
	install.Dir = scratch
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w (deploy/install.sh --tests installs what tests need)\n%s", err, out)
	}
	if err := os.Chmod(scratch, 0o755); err != nil {
		return "", err
	}
	return dir, os.Rename(scratch, dir)
}

// lockFile waits for a lock between processes.
func lockFile(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}
