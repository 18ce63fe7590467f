//go:build !unix

package caddymodule

import "net"

// pending returns false: it is not supported on this system.
func pending(net.Conn) bool { return false }
