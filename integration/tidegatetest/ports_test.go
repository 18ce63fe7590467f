package tidegatetest

import (
	"net"
	"runtime"
	"strconv"
	"testing"
)

// TestPortIsClaimed checks that no other test gets the port of a server that does not listen
// yet. It finds two gateways that share an admin endpoint, so that each is loaded with the
// configuration of the other.
func TestPortIsClaimed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("ports are claimed with abstract Unix sockets, which only Linux has")
	}
	_, text, err := net.SplitHostPort(FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, free := claim(t, port); free {
		t.Errorf("port %d is free for another test", port)
	}
}
