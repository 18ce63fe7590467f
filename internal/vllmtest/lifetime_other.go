//go:build !linux

package vllmtest

import "syscall"

// endWithTest is only possible on Linux.
func endWithTest() *syscall.SysProcAttr { return nil }
