package blob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/testkit"
)

var prefixes atomic.Int64

// openBucket opens a store in the server's bucket under a prefix of its own.
func openBucket(t testing.TB, server *testkit.ObjectStore) *blob.Store {
	t.Helper()
	access, secret := server.Credentials()
	store, err := blob.Open(t.Context(), blob.Config{
		URL:       fmt.Sprintf("%s&prefix=p%d", server.URL(), prefixes.Add(1)),
		AccessKey: access, SecretKey: secret, Timeout: 5 * time.Second,
	})
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

func TestS3(t *testing.T) {
	server := testkit.S3(t)
	for _, test := range conformance {
		t.Run(test.name, func(t *testing.T) { test.test(t, openBucket(t, server)) })
	}
}

// everything is each operation, all at once, on a store that has an object.
func everything(ctx context.Context, store *blob.Store) map[string]error {
	upload := func(name string, size int) error {
		_, err := store.Upload(ctx, name, func(w io.Writer) error { _, err := w.Write(content(size)); return err })
		return err
	}
	operations := map[string]func() error{
		"Attributes":      func() error { _, err := store.Attributes(ctx, "a"); return err },
		"Download":        func() error { _, err := store.Download(ctx, "a", io.Discard); return err },
		"Upload":          func() error { return upload("b", 1000) },
		"Upload in parts": func() error { return upload("c", 12<<20) },
		"List": func() (err error) {
			for _, err = range store.List(ctx, "") {
			}
			return err
		},
		"ReadRange": func() error { return store.ReadRange(ctx, "a", make([]byte, 1), 0) },
		"Delete":    func() error { return store.Delete(ctx, "a") },
		"Probe":     func() error { return store.Probe(ctx) },
	}
	var (
		wait    sync.WaitGroup
		mu      sync.Mutex
		results = map[string]error{}
	)
	for name, run := range operations {
		wait.Go(func() {
			err := run()
			mu.Lock()
			defer mu.Unlock()
			results[name] = err
		})
	}
	wait.Wait()
	return results
}

func TestServerThatIsDownIsNoLossOfObjects(t *testing.T) {
	server := testkit.S3(t)
	store := openBucket(t, server)
	put(t, store, "a", content(10))
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for operation, err := range everything(t.Context(), store) {
		if !errors.Is(err, blob.ErrUnavailable) || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrUnavailable", operation, err)
		}
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkContent(t, store, "a", content(10))
	put(t, store, "b", content(1000)) // the failed upload left nothing
}

func TestServerThatHangsIsGivenUp(t *testing.T) {
	server := testkit.S3(t)
	access, secret := server.Credentials()
	store, err := blob.Open(t.Context(), blob.Config{URL: server.URL(), AccessKey: access, SecretKey: secret, Timeout: 200 * time.Millisecond, UploadTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	for operation, err := range everything(t.Context(), store) {
		if !errors.Is(err, blob.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want ErrUnavailable and not the caller's deadline", operation, err)
		}
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
}

// TestWhatTheServerRefusesIsUnavailable: neither a wrong password nor a bucket that is missing makes an object lost.
func TestWhatTheServerRefusesIsUnavailable(t *testing.T) {
	server := testkit.S3(t)
	access, secret := server.Credentials()
	endpoint := server.URL()[len("s3://quipu-test"):]
	for name, cfg := range map[string]blob.Config{
		"another bucket":    {URL: "s3://not-there" + endpoint, AccessKey: access, SecretKey: secret},
		"a wrong secret":    {URL: server.URL(), AccessKey: access, SecretKey: "wrong"},
		"a unknown account": {URL: server.URL(), AccessKey: "nobody", SecretKey: secret},
	} {
		store, err := blob.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for operation, err := range everything(t.Context(), store) {
			if !errors.Is(err, blob.ErrUnavailable) || errors.Is(err, blob.ErrNotFound) {
				t.Errorf("%s: %s: got %v, want ErrUnavailable", name, operation, err)
			}
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCredentialsOfTheEnvironment(t *testing.T) {
	server := testkit.S3(t)
	access, secret := server.Credentials()
	t.Setenv("AWS_ACCESS_KEY_ID", access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	store, err := blob.Open(t.Context(), blob.Config{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestChangedObjectsAreFound: what somebody changes behind the server's back is not what was uploaded.
func TestChangedObjectsAreFound(t *testing.T) {
	server := testkit.S3(t)
	access, secret := server.Credentials()
	store, err := blob.Open(t.Context(), blob.Config{URL: server.URL(), AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	data := content(300_000)
	want := put(t, store, "x/a", data)
	path := filepath.Join(server.Folder(), "x", "a")
	for name, change := range map[string]func([]byte) []byte{
		"a flipped bit": func(d []byte) []byte { d[1000] ^= 1; return d },
		"a cut end":     func(d []byte) []byte { return d[:len(d)-1] },
	} {
		if err := os.WriteFile(path, change(content(300_000)), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := store.Check(t.Context(), "x/a", want); !errors.Is(err, blob.ErrDamaged) {
			t.Errorf("%s: got %v, want ErrDamaged", name, err)
		}
	}
	if err := store.ReadRange(t.Context(), "x/a", make([]byte, 10), 299_995); !errors.Is(err, blob.ErrDamaged) {
		t.Errorf("a range behind the cut: got %v, want ErrDamaged", err)
	}
}
