package blob_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quipudb/quipu/blob"
)

func openFolder(t testing.TB, dir string) *blob.Store {
	t.Helper()
	store, err := blob.Open(t.Context(), blob.Config{URL: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestFolder(t *testing.T) {
	for _, test := range conformance {
		t.Run(test.name, func(t *testing.T) {
			test.test(t, openFolder(t, filepath.Join(t.TempDir(), "made", "on", "demand")))
		})
	}
}

func TestFolderHasPlainFilesAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	store := openFolder(t, "file://"+dir)
	put(t, store, "resolution=day/one", content(10))
	if _, err := store.Upload(t.Context(), "resolution=day/two", func(io.Writer) error { return errors.New("no") }); err == nil {
		t.Fatal("it did not fail")
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) != 1 || files[0] != filepath.Join(dir, "resolution=day", "one") {
		t.Errorf("got %v, %v", files, err)
	}
}

// TestFolderThatIsGoneIsNoLossOfObjects: a folder that was unmounted, which leaves an empty mount point, is unavailable; its objects are
// not lost, and no listing is taken for that of an empty store.
func TestFolderThatIsGoneIsNoLossOfObjects(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mount")
	store := openFolder(t, dir)
	put(t, store, "a", content(10))
	if err := os.Rename(dir, dir+"-elsewhere"); err != nil {
		t.Fatal(err)
	}
	for _, emptyMountPoint := range []bool{false, true} {
		if emptyMountPoint {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		_, asking := store.Attributes(t.Context(), "a")
		_, uploading := store.Upload(t.Context(), "b", func(io.Writer) error { return nil })
		var listing error
		for _, listing = range store.List(t.Context(), "") {
		}
		for _, err := range []error{asking, uploading, listing, store.Probe(t.Context()), store.ReadRange(t.Context(), "a", make([]byte, 1), 0)} {
			if !errors.Is(err, blob.ErrUnavailable) || errors.Is(err, blob.ErrNotFound) {
				t.Errorf("empty mount point %t: got %v, want ErrUnavailable", emptyMountPoint, err)
			}
		}
	}
}

func TestFolderRemovesWhatKilledUploadsLeft(t *testing.T) {
	dir := t.TempDir()
	openFolder(t, dir)
	old, fresh := filepath.Join(dir, ".uploads", "old"), filepath.Join(dir, ".uploads", "fresh")
	for _, path := range []string{old, fresh} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	longAgo := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	openFolder(t, dir)
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one: got %v, want it removed", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("the fresh one: %v", err)
	}
}
