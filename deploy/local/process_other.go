//go:build !linux

package local

import "syscall"

func processAttributes(bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

func awaitStopped(int) error { return nil } // the signal was sent; that has to do
