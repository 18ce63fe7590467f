package upstreams

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// address is where an upstream is.
type address struct {
	name   string   // its normal form, by which it is known
	base   *url.URL // what routes are appended to
	socket string   // the path of a Unix domain socket, "" for TCP
}

// socketPrefix begins the address of a Unix domain socket, as in Caddy's network
// addresses: unix//run/vllm.sock is the file /run/vllm.sock.
const socketPrefix = "unix/"

// parseAddress reads an upstream's address and brings it to its normal form. A
// path that ends in /v1, as in the base URLs of OpenAI's libraries, stands for
// the one before that: every route has its version already.
func parseAddress(raw string) (address, error) {
	if rest, ok := strings.CutPrefix(raw, "unix:"); ok { // unix:/path and unix:///path
		raw = socketPrefix + "/" + strings.TrimLeft(rest, "/")
	}
	if file, ok := strings.CutPrefix(raw, socketPrefix); ok {
		return parseSocket(raw, file)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return address{}, errors.New("it is no URL") // url.Error would repeat a password
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return address{}, fmt.Errorf("%q does not begin with http://, https:// or unix//", u.Redacted())
	case u.Hostname() == "":
		return address{}, fmt.Errorf("%q names no host", u.Redacted())
	case u.User != nil:
		return address{}, errors.New("it has a user name in it; a key belongs in api_key")
	case !usablePort(u.Port()):
		return address{}, fmt.Errorf("%q: the port is not from 1 to 65535", raw)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return address{}, fmt.Errorf("%q has a query or a fragment", raw)
	case u.RawPath != "" || u.EscapedPath() != u.Path:
		return address{}, fmt.Errorf("%q has a path with characters that need escaping", raw)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.Path != "" && path.Clean(u.Path) != u.Path {
		return address{}, fmt.Errorf("%q has a path with empty or dotted parts", raw)
	}
	for _, rt := range routeList {
		if !strings.HasPrefix(rt.target, "/v1/") && !strings.HasPrefix(rt.target, "/v2/") {
			continue // such a name may be that of a prefix as well
		}
		if prefix, ok := strings.CutSuffix(u.Path, rt.target); ok {
			return address{}, fmt.Errorf("%q ends in the route %s: give what is before it, %s://%s%s", raw, rt.target, u.Scheme, u.Host, prefix)
		}
	}
	u.Path = strings.TrimRight(strings.TrimSuffix(u.Path, "/v1"), "/")
	base := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return address{name: base.String(), base: base}, nil
}

// usablePort reports whether a server can be at a port; "" is the scheme's.
func usablePort(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.Atoi(port)
	return err == nil && 1 <= n && n <= 65535
}

// maxSocketPath is the longest path of a Unix domain socket in bytes, the
// smallest of what systems take (sun_path, less its final zero).
const maxSocketPath = 103

// parseSocket reads the address of a Unix domain socket: an absolute path, or
// the name of an abstract one after @.
func parseSocket(raw, file string) (address, error) {
	switch {
	case strings.ContainsAny(file, "\x00|"):
		return address{}, fmt.Errorf("%q has characters that a socket's path cannot have", raw)
	case len(file) > maxSocketPath:
		return address{}, fmt.Errorf("%q: the path of a socket has at most %d bytes", raw, maxSocketPath)
	case strings.HasPrefix(file, "@") && len(file) > 1:
	case !strings.HasPrefix(file, "/") || path.Clean(file) == "/":
		return address{}, fmt.Errorf("%q is not the absolute path of a socket, as in unix//run/vllm.sock", raw)
	default:
		file = path.Clean(file)
	}
	// The host is what the server reads in the Host header.
	return address{name: socketPrefix + file, base: &url.URL{Scheme: "http", Host: "localhost"}, socket: file}, nil
}
