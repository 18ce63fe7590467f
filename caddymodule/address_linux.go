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

// claimAddress claims an address with a Unix socket in the abstract namespace. The
// kernel allows one process per name in each network namespace, and releases the name
// when the process ends for any reason.
func claimAddress(address string) (io.Closer, error) {
	claim, err := net.Listen("unix", claimPrefix+address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errAddressClaimed
	}
	return claim, err
}

// claimedAddresses lists the claims of the processes in this network namespace: the
// last column of /proc/net/unix (proc(5)) is a socket's name.
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
