package embedded

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fdatasync flushes a file's data, and of its metadata what is needed to read them back.
func fdatasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// reserve allocates space that reads as zeros. Where the filesystem can't, writing allocates.
func reserve(f *os.File, from, to int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, from, to-from)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil
		default:
			return err
		}
	}
}
