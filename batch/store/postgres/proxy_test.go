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

// proxy passes connections on to a server, and reads what the server says
// (https://www.postgresql.org/docs/current/protocol-message-formats.html).
type proxy struct {
	net.Listener
	server string
	trips  atomic.Int64 // times that the server was ready for more
	cut    atomic.Bool  // cut the next connection on which it says COMMIT, instead of telling the client
	cuts   atomic.Int64
	mute   atomic.Bool  // tell clients nothing more
	deaf   atomic.Bool  // tell those that connect now nothing more, once they are let in
	age    atomic.Int64 // those that connected at an earlier one are told nothing more

	passing sync.WaitGroup
	mu      sync.Mutex
	open    []net.Conn // guarded by mu
}

// behindProxy gives the URL of a database behind a proxy.
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
			_, _ = io.Copy(server, client) // until one of them is gone
			server.Close()
		})
		p.passing.Go(func() {
			p.answers(client, bufio.NewReader(server))
			client.Close()
			server.Close()
		})
	}
}

// answers passes on the server's messages: a letter, the length of the rest
// with itself, the rest.
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
