//go:build !unix

package caddymodule

import "net"

// pending reports false: it is not known here.
func pending(net.Conn) bool { return false }
