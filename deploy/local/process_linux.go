package local

import "syscall"

func processAttributes(dieWithParent bool) *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if dieWithParent {
		attributes.Pdeathsig = syscall.SIGKILL
	}
	return attributes
}
