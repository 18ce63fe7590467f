package upstreams

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// transport sends requests to upstreams.
type transport struct {
	keep http.RoundTripper
	// fresh makes a new connection for every request: requests that failed on a stale
	// connection are repeated on it.
	fresh http.RoundTripper
}

const (
	// idlePerHost limits the idle connections to one upstream.
	idlePerHost = 1024
	// connBuffer is the size of a connection's buffers in bytes: most requests fit
	// into one write.
	connBuffer = 16 << 10
	// headerLimit limits the header of an answer in bytes.
	headerLimit = 256 << 10
)

// dialFunc connects like net.Dialer.DialContext.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer returns a function that connects to TCP addresses, or always to the Unix
// domain socket if socket is set.
func (p *Pool) dialer(socket string) dialFunc {
	if p.dial != nil {
		return p.dial // in tests
	}
	dialer := &net.Dialer{
		Timeout: p.cfg.DialTimeout,
		// A host that has vanished is detected within half a minute.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	if socket == "" {
		return dialer.DialContext
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socket)
	}
}

// newTransport returns a transport that connects with dial.
func newTransport(cfg *Config, dial dialFunc, secure TLSConfig) *transport {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	base := &http.Transport{
		// Proxies in the environment are meant for external servers.
		Proxy:                  nil,
		DialContext:            dial,
		Protocols:              &http1,
		DialTLSContext:         (&tlsDialer{cfg: secure, dial: dial, timeout: cfg.DialTimeout}).DialContext,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        cfg.IdleConnTimeout,
		DisableCompression:     true, // usage is read from the stream
		MaxResponseHeaderBytes: headerLimit,
		ReadBufferSize:         connBuffer,
		WriteBufferSize:        connBuffer,
	}
	fresh := base.Clone()
	fresh.DisableKeepAlives = true
	return &transport{keep: base, fresh: fresh}
}

func (t *transport) closeIdle() {
	for _, rt := range []http.RoundTripper{t.keep, t.fresh} {
		if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}

// stale reports whether err is the failure of a request on a connection that the
// server was closing: no byte of an answer was received.
func stale(err error) bool {
	for _, end := range []error{io.EOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, end) {
			return true
		}
	}
	// net/http does not export this one.
	return strings.Contains(err.Error(), "server closed idle connection")
}

// broken reports whether err means that a connection ended prematurely.
func broken(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}
