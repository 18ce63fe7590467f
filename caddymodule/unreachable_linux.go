package caddymodule

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// makeUnreachable makes the kernel refuse new connections to a listening socket, by
// binding the socket to a network interface that does not exist. Handshakes that have
// begun are completed, and connections in the queue can be accepted: without this,
// connections that are established between the last accept and the close of the
// socket would be reset. It needs Linux 5.7, and no privilege.
func makeUnreachable(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, math.MaxInt32) // the rest works without
	})
}

// queueLength returns how many established connections of a listening socket were not
// accepted.
func queueLength(raw syscall.RawConn) int {
	n := 0
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Unacked) // of a listening socket, its backlog
		}
	})
	return n
}
