package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"
)

// links makes the client's connections and knows those that are open, so that
// they can be cut: while opening, of which the client knows no context; when a
// server turns out to be no master any more; and in the end.
type links struct {
	timeout time.Duration
	tls     *TLS // nil for none; its files are read for each connection

	over  func()        // closes ended, once
	ended chan struct{} // no further connection is made

	mu   sync.Mutex
	open map[*link]struct{} // guarded by mu; nil once cut
}

func newLinks(timeout time.Duration, secure *TLS) *links {
	ended := make(chan struct{})
	return &links{
		timeout: timeout, tls: secure, ended: ended, over: sync.OnceFunc(func() { close(ended) }),
		open: make(map[*link]struct{}),
	}
}

// dial has the form of rueidis.ClientOption.DialCtxFn.
func (l *links) dial(ctx context.Context, address string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-l.ended:
			cancel()
		case <-ctx.Done():
		}
	})
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if l.tls != nil {
		if conn, err = l.secure(ctx, conn, address); err != nil {
			return nil, err
		}
	}
	return l.add(conn)
}

func (l *links) secure(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	// Certificates may live for a day, and this process for a year.
	cfg, err := l.tls.load()
	if err != nil {
		_ = conn.Close() // it was never used
		return nil, err
	}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		cfg.ServerName = host
	}
	secured := tls.Client(conn, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // what matters is why the handshake failed
		return nil, fmt.Errorf("agreeing on TLS with %s: %w", address, err)
	}
	return secured, nil
}

func (l *links) add(conn net.Conn) (net.Conn, error) {
	k := &link{Conn: conn, links: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		_ = conn.Close() // it was never used
		return nil, net.ErrClosed
	}
	l.open[k] = struct{}{}
	return k, nil
}

// drop closes what is open; the client connects again when it needs to.
func (l *links) drop() {
	l.mu.Lock()
	open := make([]*link, 0, len(l.open))
	for k := range l.open {
		open = append(open, k)
	}
	l.mu.Unlock()
	for _, k := range open {
		_ = k.Close() // is given up
	}
}

// refuse ends attempts under way and makes no further connection.
func (l *links) refuse() { l.over() }

// cut ends everything.
func (l *links) cut() {
	l.refuse()
	l.drop()
	l.mu.Lock()
	late := l.open
	l.open = nil
	l.mu.Unlock()
	for k := range late {
		_ = k.Close() // is given up
	}
}

// link is an open connection.
type link struct {
	net.Conn
	links *links
}

func (k *link) Close() error {
	k.links.mu.Lock()
	delete(k.links.open, k)
	k.links.mu.Unlock()
	return k.Conn.Close()
}
