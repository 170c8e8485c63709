package local

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrDiskFull says that there is too little room to start.
var ErrDiskFull = errors.New("too little room on the disk")

// CheckPrograms tells which of the programs that a cluster needs are missing, all
// at once.
func CheckPrograms() error {
	var errs []error
	for _, name := range []string{"mariadbd", "mariadb-install-db"} {
		_, err := FindProgram(name)
		errs = append(errs, err)
	}
	_, java := findJava()
	_, jars := findZooKeeper()
	return errors.Join(append(errs, java, jars)...)
}

// checkRoom refuses to start databases that would stop half-way.
func checkRoom(dir string, need uint64) error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("look for room in %s: %w", dir, err)
	}
	free := stat.Bavail * uint64(stat.Bsize)
	if free >= need {
		return nil
	}
	return fmt.Errorf("%w: %d MiB are free in %s and a cluster needs %d MiB; make room, or give a folder on another disk with --data",
		ErrDiskFull, free>>20, dir, need>>20)
}
