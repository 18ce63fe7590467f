package vllmtest

import "syscall"

// endWithTest has the kernel end a process when the test's own process dies
// without cleaning up, as it does on a panic or a time-out. The HTTP server ends its
// engine on SIGTERM; killed, it would leave the engine behind.
func endWithTest() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
