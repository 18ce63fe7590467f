//go:build unix && !linux

package pgtest

import "syscall"

func withTest(account *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: account}
}
