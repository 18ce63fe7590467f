package tidegatetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
)

// Ports are taken below the range that systems give to outgoing connections
// (from 32768 on Linux): otherwise a server that was killed might find its
// port taken by a connection when it is started again.
const (
	lowestPort  = 20000
	highestPort = 32000
)

var taken struct {
	mu    sync.Mutex
	ports map[int]net.Listener // guarded by mu; the claims of this process
}

// claim claims a port until this process ends, so that no other test takes it before the
// server listens: Caddy shares its ports (SO_REUSEPORT), and the configuration of one gateway
// would be loaded by another one. It reports whether the port was free. Where there are no
// abstract Unix sockets, it is free.
func claim(tb testing.TB, port int) (net.Listener, bool) {
	if runtime.GOOS != "linux" {
		return nil, true
	}
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "unix", fmt.Sprintf("@tidegatetest/port/%d", port))
	return listener, err == nil
}

// FreeAddr returns a free loopback address, each only once on this machine while this process
// runs.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	taken.mu.Lock()
	defer taken.mu.Unlock()
	if taken.ports == nil {
		taken.ports = make(map[int]net.Listener)
	}
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if _, ours := taken.ports[port]; ours {
			continue
		}
		held, free := claim(tb, port)
		if !free {
			continue
		}
		taken.ports[port] = held // also if something else listens there
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", addr)
		if err != nil {
			continue // taken
		}
		if err := listener.Close(); err != nil {
			tb.Fatalf("closing a port that was tried: %v", err)
		}
		return addr
	}
	tb.Fatal("no free port found")
	return ""
}
