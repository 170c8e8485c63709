package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
)

const (
	folderPage  = 100_000 // each page of a folder's listing walks all of it
	uploadsName = ".uploads"
	staleUpload = 24 * time.Hour
)

// folder writes objects into a folder. The library reads, lists and deletes them; it does not write them because it neither flushes
// nor refuses a name atomically.
type folder struct {
	dir     string
	uploads string // files that are being written; also the sign that the folder is mounted
	marked  bool   // uploads was there when the folder was opened

	mu sync.Mutex // makes look-and-rename one step, where there are no hard links
}

func openFolder(dir string) (*folder, *blob.Bucket, error) {
	f := &folder{dir: dir, uploads: filepath.Join(dir, uploadsName)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	// A reader may open a folder in which it can't write.
	if err := os.Mkdir(f.uploads, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
		f.marked = true
		f.removeStale()
	}
	bucket, err := fileblob.OpenBucket(dir, &fileblob.Options{Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, nil, err
	}
	return f, bucket, nil
}

// removeStale removes what uploads left that were killed. Whatever goes wrong here is no harm.
func (f *folder) removeStale() {
	entries, err := os.ReadDir(f.uploads)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > staleUpload {
			_ = os.Remove(filepath.Join(f.uploads, entry.Name()))
		}
	}
}

// present says whether the folder is still the one that was opened: an empty mount point is not.
func (f *folder) present() error {
	sign := f.dir
	if f.marked {
		sign = f.uploads
	}
	if _, err := os.Stat(sign); err != nil {
		return fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	return nil
}

func (f *folder) upload(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := f.present(); err != nil {
		return err
	}
	path := filepath.Join(f.dir, filepath.FromSlash(name))
	if _, err := os.Lstat(path); err == nil {
		return ErrExists
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return err
	}
	temporary := filepath.Join(f.uploads, id.String())
	if err := writeFile(ctx, temporary, write); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(temporary)))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := f.place(temporary, path); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(temporary)))
	}
	if err := f.flushFolders(filepath.Dir(path)); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func writeFile(ctx context.Context, path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = write(file)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// place gives a finished file its name, unless something has it.
func (f *folder) place(temporary, path string) error {
	err := os.Link(temporary, path)
	switch {
	case err == nil:
		return os.Remove(temporary)
	case errors.Is(err, fs.ErrExist):
		return ErrExists
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrPermission):
		return f.rename(temporary, path)
	}
	return err
}

// rename is for file systems without hard links. Two processes that choose the same name at the same instant are not kept apart by
// it; names are made never to repeat.
func (f *folder) rename(temporary, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := os.Lstat(path); err == nil {
		return ErrExists
	}
	return os.Rename(temporary, path)
}

// flushFolders makes names durable, from a folder up to the store's.
func (f *folder) flushFolders(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		handle, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(handle.Sync(), handle.Close()); err != nil {
			return err
		}
		if dir == f.dir || len(dir) <= len(f.dir) {
			return nil
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
