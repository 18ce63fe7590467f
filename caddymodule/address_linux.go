package caddymodule

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// claimAddress claims an address by a Unix socket in the abstract namespace. The
// kernel lets one process have the name, in each network namespace, and frees it
// when the process ends, however that happens.
func claimAddress(address string) (io.Closer, error) {
	claim, err := net.Listen("unix", "@tidegate/listen/"+address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errAddressClaimed
	}
	return claim, err
}
