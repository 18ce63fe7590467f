//go:build !linux

package caddymodule

import "syscall"

// makeUnreachable does nothing: it is not supported on this system.
func makeUnreachable(syscall.RawConn) {}

// queueLength returns 0: it is not supported on this system.
func queueLength(syscall.RawConn) int { return 0 }
