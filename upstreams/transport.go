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

// transport is the one way out to the upstreams. A faster one goes here.
type transport struct {
	keep http.RoundTripper
	// fresh makes a connection for every request: what a connection that had
	// been kept too long did to a request is done again on it.
	fresh http.RoundTripper
}

const (
	// idlePerHost bounds connections that are kept to one upstream.
	idlePerHost = 1024
	// connBuffer is the size of a connection's buffers in bytes: most requests
	// fit into one write.
	connBuffer = 16 << 10
	// headerLimit bounds the header of an answer in bytes.
	headerLimit = 256 << 10
)

// dialFunc connects, as net.Dialer.DialContext does.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer connects to TCP addresses, or to a Unix domain socket whatever the
// address says.
func (p *Pool) dialer(socket string) dialFunc {
	if p.dial != nil {
		return p.dial // in tests
	}
	dialer := &net.Dialer{
		Timeout: p.cfg.DialTimeout,
		// A machine that vanished is found out within half a minute.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	if socket == "" {
		return dialer.DialContext
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socket)
	}
}

// newTransport makes a transport over what dial connects.
func newTransport(cfg *Config, dial dialFunc, secure TLSConfig) *transport {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	base := &http.Transport{
		// Proxies of the environment are for the way out of the house.
		Proxy:                  nil,
		DialContext:            dial,
		Protocols:              &http1,
		DialTLSContext:         (&tlsDialer{cfg: secure, dial: dial, timeout: cfg.DialTimeout}).DialContext,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        cfg.IdleConnTimeout,
		DisableCompression:     true, // usage is read from what passes
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

// stale tells whether err is how a request fails on a connection that the server
// closes: there is not one byte of an answer.
func stale(err error) bool {
	for _, end := range []error{io.EOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, end) {
			return true
		}
	}
	// net/http does not export this one.
	return strings.Contains(err.Error(), "server closed idle connection")
}

// broken tells whether err is that a connection ended before its time.
func broken(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}
