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

	dial, idle time.Duration
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

// newTransport makes a transport; dial is nil but in tests.
func newTransport(cfg *Config, dial dialFunc) *transport {
	dialer := &net.Dialer{
		Timeout: cfg.DialTimeout,
		// A machine that vanished is found out within half a minute.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	if dial == nil {
		dial = dialer.DialContext
	}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	base := &http.Transport{
		// Proxies of the environment are for the way out of the house.
		Proxy:                  nil,
		DialContext:            dial,
		Protocols:              &http1,
		TLSHandshakeTimeout:    cfg.DialTimeout,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        cfg.IdleConnTimeout,
		DisableCompression:     true, // usage is read from what passes
		MaxResponseHeaderBytes: headerLimit,
		ReadBufferSize:         connBuffer,
		WriteBufferSize:        connBuffer,
	}
	fresh := base.Clone()
	fresh.DisableKeepAlives = true
	return &transport{keep: base, fresh: fresh, dial: cfg.DialTimeout, idle: cfg.IdleConnTimeout}
}

// fits tells whether the transport is one for cfg.
func (t *transport) fits(cfg *Config) bool {
	return t.dial == cfg.DialTimeout && t.idle == cfg.IdleConnTimeout
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
