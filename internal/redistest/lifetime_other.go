//go:build !linux

package redistest

import "syscall"

// endWithTest is only possible on Linux.
func endWithTest() *syscall.SysProcAttr { return nil }
