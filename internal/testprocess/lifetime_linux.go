package testprocess

import "syscall"

// endWithTest adds the signal that the kernel sends when the test's own process dies.
func endWithTest(attributes *syscall.SysProcAttr, signal syscall.Signal) *syscall.SysProcAttr {
	if attributes == nil {
		attributes = new(syscall.SysProcAttr)
	}
	attributes.Pdeathsig = signal
	return attributes
}
