//go:build !linux

package tidegatetest

import "syscall"

// endWithTest is only possible on Linux.
func endWithTest() *syscall.SysProcAttr { return nil }
