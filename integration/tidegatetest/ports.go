package tidegatetest

import (
	"fmt"
	"math/rand/v2"
	"net"
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
	ports map[int]bool // guarded by mu
}

// FreeAddr returns a free loopback address, each only once in this process.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	taken.mu.Lock()
	defer taken.mu.Unlock()
	if taken.ports == nil {
		taken.ports = map[int]bool{}
	}
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if taken.ports[port] {
			continue
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", addr)
		if err != nil {
			continue // taken
		}
		if err := listener.Close(); err != nil {
			tb.Fatalf("closing a port that was tried: %v", err)
		}
		taken.ports[port] = true
		return addr
	}
	tb.Fatal("no free port found")
	return ""
}
