package caddymodule

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tidegate/tidegate/internal/descriptors"
)

// clients tracks the client connections of all servers of the process that have one
// of the handlers.
var clients = newClientConns(descriptors.Room, descriptors.Scarce)

func init() { descriptors.OnShortage(clients.yield) }

// watchClients tracks the connections of the server that ctx provisions, once.
// Servers are provisioned one after the other.
func (a *App) watchClients(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || a.watched[server] {
		return
	}
	if a.watched == nil {
		a.watched = make(map[*caddyhttp.Server]bool)
	}
	a.watched[server] = true
	server.RegisterConnState(connState)
	server.RegisterConnContext(connContext)
	server.RegisterConnState(clients.changed)
	keepListeners(server)
}

// clientConns closes idle client connections when file descriptors become scarce.
// Otherwise idle connections could take every descriptor, and requests could not be
// forwarded.
type clientConns struct {
	room   func() bool // descriptors are available beyond the reserve
	scarce func() bool // the reserve is half used up
	// pending reports whether a client has sent bytes that were not read yet.
	pending func(net.Conn) bool
	ended   chan struct{} // cap 1; a connection has ended, or is idle

	mu     sync.Mutex
	idle   *list.List                 // guarded by mu; idle after a request, the longest first
	silent *list.List                 // guarded by mu; idle before the first request
	at     map[net.Conn]*list.Element // guarded by mu
}

// waiting is a connection without a current request.
type waiting struct {
	conn  net.Conn
	since time.Time
	in    *list.List
}

func newClientConns(room, scarce func() bool) *clientConns {
	return &clientConns{
		room: room, scarce: scarce, pending: pending, ended: make(chan struct{}, 1),
		idle: list.New(), silent: list.New(), at: make(map[net.Conn]*list.Element),
	}
}

// changed is called by net/http when a connection begins (http.StateNew), when a
// request arrives on it, when it is idle, and when it ends.
func (c *clientConns) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.makeRoom(conn)
		c.add(conn, c.silent)
	case http.StateIdle:
		c.add(conn, c.idle)
		c.signal()
	case http.StateActive, http.StateHijacked:
		c.remove(conn)
	case http.StateClosed:
		c.remove(conn)
		c.signal()
	}
}

func (c *clientConns) signal() {
	select {
	case c.ended <- struct{}{}:
	default:
	}
}

func (c *clientConns) add(conn net.Conn, to *list.List) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at[conn] == nil {
		c.at[conn] = to.PushBack(&waiting{conn, time.Now(), to})
	}
}

func (c *clientConns) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.at[conn]; e != nil {
		c.drop(e)
	}
}

// drop removes a connection from its list. The caller holds mu.
func (c *clientConns) drop(e *list.Element) *waiting {
	w := e.Value.(*waiting)
	w.in.Remove(e)
	delete(c.at, w.conn)
	return w
}

const (
	// silence limits the time until the first byte of a client when descriptors are
	// scarce.
	silence = time.Second
	// acceptPause is the time without accepting connections while the reserve is scarce
	// and no connection ends. New connections wait in the listener's queue.
	acceptPause = 250 * time.Millisecond
)

// makeRoom frees a descriptor for a new connection. If no connection is idle, the
// reserve is used: its request is refused with 503. If the reserve is scarce, it
// waits for others to end, and closes the new connection if none does. It is called
// by the accepting goroutine.
func (c *clientConns) makeRoom(fresh net.Conn) {
	if c.room() || c.yield() || !c.scarce() {
		return
	}
	pause := time.NewTimer(acceptPause)
	defer pause.Stop()
	for c.scarce() {
		select {
		case <-c.ended:
			if c.yield() {
				return
			}
		case <-pause.C:
			if w := c.longest(c.silent, 0); w != nil {
				closeNow(w.conn)
			} else {
				closeNow(fresh) // net/http sees that
			}
			return
		}
	}
}

// yield closes the connection that has been idle the longest, or one whose client has
// been silent for long, and reports whether there was one.
func (c *clientConns) yield() bool {
	w := c.longest(c.idle, 0)
	if w == nil {
		w = c.longest(c.silent, silence)
	}
	if w == nil {
		return false
	}
	closeNow(w.conn)
	return true
}

// mostLooks limits the number of connections that are checked.
const mostLooks = 64

// longest removes and returns the connection that has been idle the longest, at least
// for age. Connections with unread bytes are about to be served and are skipped. It
// returns nil if there is none.
func (c *clientConns) longest(in *list.List, age time.Duration) *waiting {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range min(in.Len(), mostLooks) {
		e := in.Front()
		w := e.Value.(*waiting)
		switch {
		case time.Since(w.since) < age:
			return nil
		case c.pending(w.conn):
			w.since = time.Now()
			in.MoveToBack(e)
		default:
			return c.drop(e)
		}
	}
	return nil
}

// closeNow closes a connection without a TLS close alert, which would block if the
// client does not read.
func closeNow(conn net.Conn) {
	_ = plain(conn).Close() // the error has no recipient
}

// plain returns the connection below TLS.
func plain(conn net.Conn) net.Conn {
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return conn
}
