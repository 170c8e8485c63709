package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrLocked says that another process, or another part of this one, has the lock.
var ErrLocked = errors.New("locked by another process")

const lockPoll = 20 * time.Millisecond

// Lock is an advisory lock on a file. The kernel gives it up when its holder
// dies; children do not inherit it.
type Lock struct{ file *os.File }

// LockDir locks a data folder, which it makes if need be, against a second
// launcher. It does not wait: ErrLocked.
func LockDir(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, fmt.Errorf("lock folder %s: %w", dir, err)
	}
	return lock, nil
}

// Unlock gives the lock up. Closing alone would leave it for a moment to a child
// that is just being started.
func (l *Lock) Unlock() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}

func lockFile(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Lock{file: f}, nil
}

// awaitLock waits for a lock until ctx is done.
func awaitLock(ctx context.Context, path string) (*Lock, error) {
	var lock *Lock
	err := poll(ctx, lockPoll, func(context.Context) (err error) {
		lock, err = lockFile(path)
		return err
	})
	return lock, err
}
