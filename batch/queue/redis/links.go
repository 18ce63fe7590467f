package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"
)

// links opens the client's connections and tracks open ones, so that they can be closed:
// while opening, because the client does not use a context then; when a server is no
// longer a master; and in Close.
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
		_ = conn.Close() // the error of the handshake matters
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

// drop closes all connections; the client reconnects when needed.
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

// refuse ends running attempts and prevents further connections.
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
