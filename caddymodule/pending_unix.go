//go:build unix

package caddymodule

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// pending reports whether a client has sent bytes that were not read yet. It neither
// consumes them nor waits for a reader.
func pending(conn net.Conn) bool {
	socket, ok := plain(conn).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		if n, _, err = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); err != nil {
			n = 0
		}
	})
	return err == nil && n > 0
}
