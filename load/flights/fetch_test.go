package flights

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// packed is one entry of a tarball.
type packed struct{ name, content string }

const (
	flightsContent  = "PAR1 three million flights PAR1"
	airportsContent = "iata,name,city,state\nLAS,McCarran International,Las Vegas,NV\n"
)

func goodPackage() []packed {
	return []packed{
		{"package/package.json", "{}"},
		{"package/data/" + airportsName, airportsContent},
		{"package/data/other.json", strings.Repeat("x", 5_000)},
		{"package/data/" + parquetName, flightsContent},
	}
}

func partOf(name, content string) part {
	sum := sha256.Sum256([]byte(content))
	return part{name: name, size: int64(len(content)), sha256: hex.EncodeToString(sum[:])}
}

func tarball(t *testing.T, entries []packed) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "package.tgz")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(file)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Size: int64(len(e.content)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// npmScript installs a command that stands for npm: it notes its arguments and then runs body.
func npmScript(t *testing.T, body string) (command, calls string) {
	t.Helper()
	dir := t.TempDir()
	command, calls = filepath.Join(dir, "npm"), filepath.Join(dir, "calls")
	script := "#!/bin/sh\necho \"$@\" >> '" + calls + "'\n" + body + "\n"
	if err := os.WriteFile(command, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return command, calls
}

func fetcherOf(t *testing.T, npm string) fetcher {
	return fetcher{
		npm: npm, dir: filepath.Join(t.TempDir(), "made", "cache"), progress: func(int64, int64) {},
		parts: []part{partOf(parquetName, flightsContent), partOf(airportsName, airportsContent)},
	}
}

func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func wantCached(t *testing.T, dir string) {
	t.Helper()
	if got, want := filesIn(t, dir), []string{airportsName, parquetName}; !slices.Equal(got, want) {
		t.Errorf("got files %q, want %q", got, want)
	}
	if got, err := os.ReadFile(filepath.Join(dir, parquetName)); err != nil || string(got) != flightsContent {
		t.Errorf("got %q, %v, want %q", got, err, flightsContent)
	}
}

func callsIn(t *testing.T, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

func TestFetchExtractsChecksAndCaches(t *testing.T) {
	npm, calls := npmScript(t, "cp '"+tarball(t, goodPackage())+"' "+tarballName)
	f := fetcherOf(t, npm)
	var done []int64
	total := int64(len(flightsContent) + len(airportsContent))
	f.progress = func(d, of int64) {
		if done = append(done, d); of != total {
			t.Errorf("got total %d, want %d", of, total)
		}
	}
	if err := f.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCached(t, f.dir)
	if !slices.IsSorted(done) || done[0] != 0 || done[len(done)-1] != total {
		t.Errorf("got progress %v, want from 0 to %d", done, total)
	}
	done = nil
	if err := f.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := callsIn(t, calls); len(got) != 1 || !strings.HasPrefix(got[0], "pack vega-datasets@3.2.1 --ignore-scripts") {
		t.Errorf("got calls of npm %q, want one", got)
	}
	if !slices.Equal(done, []int64{total}) {
		t.Errorf("got progress %v from the cache, want %d at once", done, total)
	}
}

func TestFetchReplacesAFileThatWasDamaged(t *testing.T) {
	npm, calls := npmScript(t, "cp '"+tarball(t, goodPackage())+"' "+tarballName)
	f := fetcherOf(t, npm)
	for range 2 {
		if err := f.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCached(t, f.dir)
		if err := os.WriteFile(filepath.Join(f.dir, parquetName), []byte(flightsContent[1:]+"X"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(callsIn(t, calls)); got != 2 {
		t.Errorf("got %d calls of npm, want 2", got)
	}
}

func TestFetchLeavesNothingOfAWrongPackage(t *testing.T) {
	for name, c := range map[string]struct {
		entries []packed
		want    error
	}{
		"other content":    {[]packed{{"package/data/" + parquetName, strings.ToLower(flightsContent)}}, ErrChecksum},
		"too short":        {[]packed{{"package/data/" + parquetName, "PAR1"}}, ErrChecksum},
		"too long":         {[]packed{{"package/data/" + parquetName, flightsContent + "1"}}, ErrChecksum},
		"in other folders": {[]packed{{parquetName, flightsContent}, {"../" + parquetName, flightsContent}}, nil},
	} {
		npm, _ := npmScript(t, "cp '"+tarball(t, c.entries)+"' "+tarballName)
		f := fetcherOf(t, npm)
		err := f.run(t.Context())
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v", name, err, c.want)
		}
		if got := filesIn(t, f.dir); len(got) > 0 {
			t.Errorf("%s: got files %q, want none", name, got)
		}
	}
}

func TestFetchReportsATarballThatEndsEarly(t *testing.T) {
	for name, body := range map[string]string{
		"cut":     "head -c 200 '" + tarball(t, goodPackage()) + "' > " + tarballName,
		"no gzip": "echo sorry > " + tarballName,
		"none":    "true",
	} {
		npm, _ := npmScript(t, body)
		f := fetcherOf(t, npm)
		if err := f.run(t.Context()); err == nil || !strings.Contains(err.Error(), "package") {
			t.Errorf("%s: got error %v, want one about the package", name, err)
		}
		if slices.Contains(filesIn(t, f.dir), parquetName) {
			t.Errorf("%s: %s is there", name, parquetName)
		}
	}
}

func TestFetchWithoutNPMSaysWhatToDo(t *testing.T) {
	err := fetcherOf(t, filepath.Join(t.TempDir(), "npm")).run(t.Context())
	if !errors.Is(err, ErrNoNPM) {
		t.Fatalf("got error %v, want ErrNoNPM", err)
	}
	for _, want := range []string{"apt-get install npm", "--file path/to/flights-3m.parquet", "vega-datasets@3.2.1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to say %q", err, want)
		}
	}
}

func TestFetchQuotesWhatNPMSaidLast(t *testing.T) {
	npm, _ := npmScript(t, "echo first words >&2; head -c 5000 /dev/zero | tr '\\0' . >&2; echo getaddrinfo ENOTFOUND >&2; exit 7")
	err := fetcherOf(t, npm).run(t.Context())
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"exit status 7", "getaddrinfo ENOTFOUND", "--file path/to/flights-3m.parquet"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "first words") || len(err.Error()) > 2*npmOutputBytes {
		t.Errorf("got %d bytes of error, want the end of npm's output only", len(err.Error()))
	}
}

func TestFetchStopsNPMWhenCancelled(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	npm, _ := npmScript(t, "touch '"+started+"'; exec sleep 600")
	f := fetcherOf(t, npm)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()
	deadline := time.Now().Add(30 * time.Second)
	for _, err := os.Stat(started); err != nil; _, err = os.Stat(started) {
		if time.Now().After(deadline) {
			t.Fatal("npm was not started")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want context.Canceled", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("fetching goes on after it was cancelled")
	}
}

func TestVerifyRefusesAnotherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), parquetName)
	if err := os.WriteFile(path, []byte(flightsContent), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Verify(path); !errors.Is(err, ErrChecksum) {
		t.Errorf("got error %v, want ErrChecksum", err)
	}
	if err := Verify(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v, want os.ErrNotExist", err)
	}
}
