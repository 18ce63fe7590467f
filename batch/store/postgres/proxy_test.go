package postgres

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy forwards connections to a server, and parses the server's messages
// (https://www.postgresql.org/docs/current/protocol-message-formats.html).
type proxy struct {
	net.Listener
	server string
	trips  atomic.Int64 // number of ReadyForQuery messages
	cut    atomic.Bool  // cut the next connection with a COMMIT response before it is forwarded
	cuts   atomic.Int64
	mute   atomic.Bool  // forward nothing to clients
	deaf   atomic.Bool  // forward nothing to new connections after their login
	age    atomic.Int64 // forward nothing to connections of an earlier age

	passing sync.WaitGroup
	mu      sync.Mutex
	open    []net.Conn // guarded by mu
}

// behindProxy returns the URL of a database behind a proxy.
func behindProxy(t *testing.T, database string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, server: u.Host}
	p.passing.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.open {
			c.Close()
		}
		p.mu.Unlock()
		p.passing.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.open = append(p.open, client, server)
		p.mu.Unlock()
		p.passing.Go(func() {
			_, _ = io.Copy(server, client) // until one side closes
			server.Close()
		})
		p.passing.Go(func() {
			p.answers(client, bufio.NewReader(server))
			client.Close()
			server.Close()
		})
	}
}

// answers forwards the server's messages: a type byte, the length of the message
// including the length field, the contents.
func (p *proxy) answers(client io.Writer, server io.Reader) {
	var head [5]byte
	age, silent := p.age.Load(), false
	for {
		if _, err := io.ReadFull(server, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(server, body); err != nil {
			return
		}
		switch {
		case head[0] == 'Z':
			p.trips.Add(1)
		case head[0] == 'C' && strings.HasPrefix(string(body), "COMMIT") && p.cut.CompareAndSwap(true, false):
			p.cuts.Add(1)
			return
		}
		if p.mute.Load() || silent || age < p.age.Load() {
			continue
		}
		if _, err := client.Write(append(head[:], body...)); err != nil {
			return
		}
		silent = head[0] == 'Z' && p.deaf.Load()
	}
}
