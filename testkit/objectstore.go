package testkit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
)

const (
	objectStoreBucket = "quipu-test"
	objectStoreAccess = "quipu"
	objectStoreSecret = "a-secret-of-tests"
)

// ObjectStore is a private S3-compatible server with one bucket. It can be killed, paused and started again with its data.
type ObjectStore struct {
	*local.Process

	dir     string
	program string
	port    *local.Port
}

// S3 starts a server for one test.
func S3(t testing.TB) *ObjectStore {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := StartObjectStore(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, s, "the object store", s.LogFile()) })
	return s
}

// StartObjectStore starts a server in a folder; the caller closes it.
func StartObjectStore(ctx context.Context, dir string) (*ObjectStore, error) {
	program, err := builtObjectStore()
	if err != nil {
		return nil, err
	}
	port, err := local.ReservePort()
	if err != nil {
		return nil, err
	}
	s := &ObjectStore{dir: dir, program: program, port: port}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, port.Release())
	}
	return s, nil
}

// URL is the bucket's, as blob.Config takes it.
func (s *ObjectStore) URL() string {
	return fmt.Sprintf("s3://%s?region=us-east-1&endpoint=http://%s", objectStoreBucket, local.LoopbackAddress(s.port.Number))
}

// Credentials are those of the one account.
func (s *ObjectStore) Credentials() (accessKey, secretKey string) {
	return objectStoreAccess, objectStoreSecret
}

// Folder has the bucket's objects as files, for tests that damage them.
func (s *ObjectStore) Folder() string { return filepath.Join(s.dir, "data", objectStoreBucket) }

// Start starts a server that is not running, and returns when it answers.
func (s *ObjectStore) Start(ctx context.Context) error {
	address := local.LoopbackAddress(s.port.Number)
	process, err := local.StartProcess(local.Command{
		Name: "the object store", Path: s.program,
		Args:    []string{"-address", address, "-dir", s.dir, "-bucket", objectStoreBucket},
		Env:     append(os.Environ(), "S3_ACCESS_KEY="+objectStoreAccess, "S3_SECRET_KEY="+objectStoreSecret),
		LogFile: filepath.Join(s.dir, "server.log"), DieWithParent: true,
	})
	if err != nil {
		return err
	}
	s.Process = process
	if err := s.answers(ctx, "http://"+address+"/healthz"); err != nil {
		return errors.Join(fmt.Errorf("start the object store: %w\n%s", err, s.LogTail(failureLogTail)), s.Kill())
	}
	return nil
}

func (s *ObjectStore) answers(ctx context.Context, url string) error {
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		reply, err := http.DefaultClient.Do(request)
		if err == nil {
			if err := reply.Body.Close(); err == nil && reply.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.Done():
			return fmt.Errorf("it ended: %w", s.Err())
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Close kills the server and removes its folder.
func (s *ObjectStore) Close() error {
	return errors.Join(s.Kill(), s.port.Release(), os.RemoveAll(s.dir))
}

// builtObjectStore builds the server, a module of its own, once a test process.
var builtObjectStore = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	return buildProgram(root, "quipu-test-s3", func(built string) *exec.Cmd {
		build := exec.Command("go", "build", "-o", built, ".")
		build.Dir = filepath.Join(root, "tools", "s3server")
		return build
	})
})
