package caddymodule

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tidegate/tidegate/internal/openai"
)

// guard protects a gateway that requires no key from requests that a web page of another
// origin makes a browser send, and from clients on other machines. If a key is required,
// it is sufficient: a page cannot send one.
type guard struct {
	// keyed reports whether a key is required: nothing is checked. nil: it is not.
	keyed func() bool
	off   bool     // `auth off`: a proxy in front authenticates
	named bool     // hosts are configured: they are checked with `auth off` too
	hosts []string // accepted host names in addition to loopback
	cors  cors
}

// newGuard returns the guard of a handler on the server that ctx provisions. The
// names of the server's sites count as configured hosts.
func (a *App) newGuard(ctx caddy.Context) guard {
	g := guard{keyed: a.requiresKey, off: a.AuthOff, named: len(a.Hosts) > 0, hosts: a.Hosts, cors: a.CORS}
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return g
	}
	for _, address := range server.Listen {
		if parsed, err := caddy.ParseNetworkAddress(address); err == nil && parsed.Host != "" {
			g.hosts = append(slices.Clip(g.hosts), parsed.Host)
		}
	}
	for _, route := range server.Routes {
		for _, matchers := range route.MatcherSets {
			for _, matcher := range matchers {
				switch names := matcher.(type) {
				case caddyhttp.MatchHost:
					g.hosts = append(slices.Clip(g.hosts), names...)
				case *caddyhttp.MatchHost:
					g.hosts = append(slices.Clip(g.hosts), *names...)
				}
			}
		}
	}
	return g
}

// open reports whether nothing is checked.
func (g *guard) open() bool { return g.keyed != nil && g.keyed() }

// checkReader returns the error for a request that may not read, nil if it may.
func (g *guard) checkReader(r *http.Request) *openai.Error {
	if g.open() {
		return nil
	}
	if !g.off && !isLocal(r.RemoteAddr) {
		return forbidden("auth_not_configured", "This gateway has no API keys and serves clients on its own machine only. Its operator must set api_keys, or write `auth off` (--no-auth) if a proxy in front authenticates.")
	}
	if !g.knows(r.Host) {
		return errUnknownHost(r)
	}
	return nil
}

// checkUser returns the error for a request of a user whom another handler has
// authenticated, nil if it is admitted. That handler may recognize the browser by something
// that it sends to every name, such as its address. A gateway that knows no name of its own
// admits all: its sites have none, it listens on all addresses, and hosts are not configured.
func (g *guard) checkUser(r *http.Request) *openai.Error {
	if len(g.hosts) == 0 || isAddress(r.Host) || g.knows(r.Host) {
		return nil
	}
	return errUnknownHost(r)
}

// isAddress reports whether a Host header is an IP address. Rebinding needs a name.
func isAddress(hostport string) bool {
	_, err := netip.ParseAddr(hostOf(hostport))
	return err == nil
}

func errUnknownHost(r *http.Request) *openai.Error {
	err := forbidden("unknown_host", "The Host header names '%s', which is not a name of this gateway. Its operator must list it: `hosts` in the tidegate block.", clipName(r.Host))
	err.Status = http.StatusMisdirectedRequest
	return err
}

// hostOf returns the host of a Host header, in lower case.
func hostOf(hostport string) string {
	host := hostport
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		host = name
	}
	return strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
}

// checkAPI returns the error for a request that may not use the API, nil if it may.
func (g *guard) checkAPI(r *http.Request) *openai.Error {
	if g.open() {
		return nil
	}
	if err := g.checkReader(r); err != nil {
		return err
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if isCrossOrigin(r) && g.cors.allowed(r.Header.Get("Origin")) == "" {
		return errCrossOrigin(r)
	}
	return checkContentType(r)
}

// checkPassword returns the error for a request whose key was sent as a password and
// that a page of another origin may have made the browser send, nil if it is
// admitted. `cors *` does not count: a page of an allowed origin does not know the
// password, but every browser sends it automatically after it was entered once.
func (g *guard) checkPassword(r *http.Request) *openai.Error {
	if !isCrossOrigin(r) || slices.Contains(g.cors, r.Header.Get("Origin")) {
		return nil
	}
	if slices.Contains(g.cors, "*") {
		origin := clipName(r.Header.Get("Origin"))
		return forbidden("cross_origin", "A web page of another origin ('%s') may not send this request with a password, which browsers repeat by themselves: `cors *` is not enough for it. Send the key as bearer token or X-Api-Key, or have the gateway's operator list the origin: `cors %s` in the tidegate block.", origin, origin)
	}
	return errCrossOrigin(r)
}

// isCrossOrigin reports whether a page of another origin sent a request that changes
// something.
func isCrossOrigin(r *http.Request) bool {
	var protection http.CrossOriginProtection
	return protection.Check(r) != nil
}

func errCrossOrigin(r *http.Request) *openai.Error {
	return forbidden("cross_origin", "A web page of another origin ('%s') may not send this request. The gateway's operator can allow the origin: `cors` in the tidegate block.", clipName(r.Header.Get("Origin")))
}

// checkContentType refuses bodies that browsers send across origins without a
// preflight: without a type, as text or as a form. Multipart forms are allowed for
// uploads; JSON routes refuse them.
func checkContentType(r *http.Request) *openai.Error {
	if r.ContentLength == 0 {
		return nil
	}
	given := r.Header.Get("Content-Type")
	media, _, _ := mime.ParseMediaType(given)
	switch media {
	case "", "text/plain", "application/x-www-form-urlencoded":
		return &openai.Error{
			Status: http.StatusUnsupportedMediaType, Type: openai.TypeInvalidRequest, Code: "unsupported_content_type",
			Message: fmt.Sprintf("The Content-Type header is '%s': send 'Content-Type: application/json'.", clipName(given)),
		}
	}
	return nil
}

func forbidden(code, format string, args ...any) *openai.Error {
	return &openai.Error{Status: http.StatusForbidden, Message: fmt.Sprintf(format, args...), Type: openai.TypeInvalidRequest, Code: code, NoRetry: true}
}

// isLocal reports whether a client's address is on this machine: loopback, or a Unix
// socket, whose clients have no address.
func isLocal(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return !strings.Contains(remote, ".") && !strings.Contains(remote, ":")
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// knows reports whether a Host header names this gateway. A page whose own name
// resolves to this machine (DNS rebinding) sends that name. With `auth off` and
// without hosts, the check is left to the proxy in front.
func (g *guard) knows(hostport string) bool {
	if hostport == "" || g.off && !g.named {
		return true // an HTTP/1.0 request without Host does not come from a browser
	}
	host := hostOf(hostport)
	if ip, err := netip.ParseAddr(host); err == nil && (g.off || ip.Unmap().IsLoopback()) {
		return true // `auth off`: rebinding needs a name, not an address
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	for _, known := range g.hosts {
		known = strings.ToLower(known)
		if host == known {
			return true
		}
		if rest, ok := strings.CutPrefix(known, "*."); ok {
			if _, parent, _ := strings.Cut(host, "."); parent == rest {
				return true
			}
		}
	}
	return false
}

// clipName limits the length of a header that an error repeats.
func clipName(name string) string {
	const limit = 200
	return strings.ToValidUTF8(name[:min(len(name), limit)], "")
}
