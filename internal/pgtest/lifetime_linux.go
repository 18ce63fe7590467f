package pgtest

import "syscall"

// withTest ends a process with the test that started it, even one that panics.
func withTest(account *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: account, Pdeathsig: Immediate}
}
