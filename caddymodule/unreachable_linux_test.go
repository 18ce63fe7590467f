package caddymodule

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// An unreachable socket refuses new connections, and still has those of its queue.
func TestUnreachableSocketKeepsItsQueue(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		raw, err := ln.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		const queued = 3
		for range queued {
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		makeUnreachable(raw)
		if conn, err := net.Dial("tcp", ln.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			if err == nil {
				conn.Close()
			}
			t.Errorf("%s: got %v, want a refused connection", addr, err)
		}
		if n := queueLength(raw); n != queued {
			t.Errorf("%s: got a queue of %d, want %d", addr, n, queued)
		}
		for range queued {
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
		if n := queueLength(raw); n != 0 {
			t.Errorf("%s: got a queue of %d after all were accepted, want 0", addr, n)
		}
	}
}
