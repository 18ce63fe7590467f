//go:build !linux

package testprocess

import "syscall"

// endWithTest changes nothing: only Linux has such a signal.
func endWithTest(attributes *syscall.SysProcAttr, _ syscall.Signal) *syscall.SysProcAttr {
	return attributes
}
