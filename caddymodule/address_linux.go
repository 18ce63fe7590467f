package caddymodule

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
)

const claimPrefix = "@tidegate/listen/"

// claimAddress claims an address by a Unix socket in the abstract namespace. The
// kernel lets one process have the name, in each network namespace, and frees it
// when the process ends, however that happens.
func claimAddress(address string) (io.Closer, error) {
	claim, err := net.Listen("unix", claimPrefix+address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errAddressClaimed
	}
	return claim, err
}

// claimedAddresses lists what the processes of this network namespace have claimed:
// the last column of /proc/net/unix (proc(5)) is a socket's name.
func claimedAddresses() ([]string, error) {
	sockets, err := os.ReadFile("/proc/net/unix")
	if errors.Is(err, fs.ErrNotExist) { // a container without /proc
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var claimed []string
	for line := range strings.Lines(string(sockets)) {
		if _, address, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "+claimPrefix); ok {
			claimed = append(claimed, address)
		}
	}
	return claimed, nil
}
