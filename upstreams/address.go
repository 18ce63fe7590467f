package upstreams

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// address is the parsed address of an upstream.
type address struct {
	name   string   // the normal form, which identifies the upstream
	base   *url.URL // routes are appended to it
	socket string   // the path of a Unix domain socket, "" for TCP
}

// socketPrefix begins the address of a Unix domain socket, as in Caddy's network
// addresses: unix//run/vllm.sock is the file /run/vllm.sock.
const socketPrefix = "unix/"

// parseAddress parses an upstream's address and normalizes it. A path that ends in
// /v1, as in the base URLs of OpenAI's libraries, loses that suffix: every route
// already contains its version.
func parseAddress(raw string) (address, error) {
	if rest, ok := strings.CutPrefix(raw, "unix:"); ok { // unix:/path and unix:///path
		raw = socketPrefix + "/" + strings.TrimLeft(rest, "/")
	}
	if file, ok := strings.CutPrefix(raw, socketPrefix); ok {
		return parseSocket(raw, file)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return address{}, errors.New("not a valid URL") // url.Error would repeat a password
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return address{}, fmt.Errorf("%q does not begin with http://, https:// or unix//", u.Redacted())
	case u.Hostname() == "":
		return address{}, fmt.Errorf("%q has no host", u.Redacted())
	case u.User != nil:
		return address{}, errors.New("the URL contains a user name; configure a key with api_key")
	case !usablePort(u.Port()):
		return address{}, fmt.Errorf("%q: the port must be from 1 to 65535", raw)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return address{}, fmt.Errorf("%q has a query or a fragment", raw)
	case u.RawPath != "" || u.EscapedPath() != u.Path:
		return address{}, fmt.Errorf("%q has a path with characters that need escaping", raw)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.Path != "" && path.Clean(u.Path) != u.Path {
		return address{}, fmt.Errorf("%q has a path with empty or dot elements", raw)
	}
	for _, rt := range routeList {
		if !strings.HasPrefix(rt.target, "/v1/") && !strings.HasPrefix(rt.target, "/v2/") {
			continue // a path prefix may have the same name
		}
		if prefix, ok := strings.CutSuffix(u.Path, rt.target); ok {
			return address{}, fmt.Errorf("%q ends in the route %s: use %s://%s%s", raw, rt.target, u.Scheme, u.Host, prefix)
		}
	}
	u.Path = strings.TrimRight(strings.TrimSuffix(u.Path, "/v1"), "/")
	base := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return address{name: base.String(), base: base}, nil
}

// usablePort reports whether port is valid; "" means the default port of the scheme.
func usablePort(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.Atoi(port)
	return err == nil && 1 <= n && n <= 65535
}

// maxSocketPath is the maximum length of a Unix domain socket's path in bytes, the
// smallest limit of all supported systems (sun_path without its final NUL).
const maxSocketPath = 103

// parseSocket parses the address of a Unix domain socket: an absolute path, or @ and
// the name of an abstract socket.
func parseSocket(raw, file string) (address, error) {
	switch {
	case strings.ContainsAny(file, "\x00|"):
		return address{}, fmt.Errorf("%q has characters that a socket's path cannot have", raw)
	case len(file) > maxSocketPath:
		return address{}, fmt.Errorf("%q: the path of a socket is limited to %d bytes", raw, maxSocketPath)
	case strings.HasPrefix(file, "@") && len(file) > 1:
	case !strings.HasPrefix(file, "/") || path.Clean(file) == "/":
		return address{}, fmt.Errorf("%q is not the absolute path of a socket, as in unix//run/vllm.sock", raw)
	default:
		file = path.Clean(file)
	}
	// The host is sent to the server as the Host header.
	return address{name: socketPrefix + file, base: &url.URL{Scheme: "http", Host: "localhost"}, socket: file}, nil
}
