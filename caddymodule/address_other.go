//go:build !linux

package caddymodule

import "io"

// claimAddress claims nothing: only Linux has abstract Unix sockets.
func claimAddress(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func claimedAddresses() ([]string, error) { return nil, nil }
