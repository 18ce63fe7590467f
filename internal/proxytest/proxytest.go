// Package proxytest is a TCP proxy for tests that can break connections: cut them, or drop
// all bytes like a lost network.
package proxytest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy passes connections on to one address. Its methods are safe for
// concurrent use.
type Proxy struct {
	Addr string // host:port where it listens

	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu; of both sides
	open  chan struct{}     // guarded by mu; closed while bytes pass
	ended bool              // guarded by mu
}

// Start starts a proxy to host:port that ends with the test.
func Start(tb testing.TB, target string) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("starting a proxy: %v", err)
	}
	p := &Proxy{Addr: listener.Addr().String(), target: target, listener: listener, conns: make(map[net.Conn]bool), open: make(chan struct{})}
	close(p.open)
	p.running.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

func (p *Proxy) close() {
	_ = p.listener.Close() // the only possible error is that it is closed
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.Heal()
	p.Cut()
	p.running.Wait()
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Swallow drops all traffic in both directions until Heal: bytes, ends of connections, and
// responses to new ones.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open = make(chan struct{})
	default:
	}
}

// Heal forwards traffic again, including bytes that were sent meanwhile.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// gate waits until bytes may pass.
func (p *Proxy) gate() {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	<-open
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && p.keep(conn) {
			p.running.Go(func() { p.serve(conn) })
		}
	}
}

// keep notes a connection, or closes it when the proxy has ended.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		_ = c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	p.gate()
	server, err := net.Dial("tcp", p.target)
	if err != nil || !p.keep(server) {
		return
	}
	defer p.drop(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client) })
	both.Go(func() { p.pass(client, server) })
	both.Wait()
}

// pass copies one direction, and ends both when it ends.
func (p *Proxy) pass(to, from net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.gate()
		if _, writing := to.Write(buffer[:n]); err == nil {
			err = writing
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = from.Close()
			}
			_ = to.Close()
			return
		}
	}
}
