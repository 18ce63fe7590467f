package caddymodule

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// clientConn is the connection of a client that a reload hands over to the server of
// the new configuration while no request is being answered on it.
//
// http.Server.Shutdown closes idle connections, although a request may be arriving on
// them, and from then on http.Server drops each request that it has read and not
// started (http.conn.serve, after readRequest). The client sees its connection closed
// without an answer. So Close does not close the connection of a server that shuts
// down, unless a request was started on it that has not been answered: it detaches
// the connection from that server, which reads net.ErrClosed, and passes it to the
// newest server, with the part of the next request that was read. No request is
// started twice: a server that shuts down starts none.
//
// Only plain HTTP/1.1 is handed over. With TLS the connection that http.Server closes
// is the TLS connection, and HTTP/2 has state of its own and sends GOAWAY.
type clientConn struct {
	*net.TCPConn

	socket   *socket
	listener *listener // the listener of the current server; set before the server gets the connection
	ahead    []byte    // read by the previous server, and not yet by this one; used by the reader

	mu         sync.Mutex
	since      time.Time // guarded by mu; when the last bytes were read, or when it was accepted
	watched    bool      // guarded by mu; connState is called for it
	secure     bool      // guarded by mu; connState is called for the TLS connection on it
	served     bool      // guarded by mu; it had a request
	upgraded   bool      // guarded by mu; it was hijacked
	idle       bool      // guarded by mu; reported by http.Server
	taken      bool      // guarded by mu; a handler has the request
	reading    bool      // guarded by mu; a Read waits for bytes
	began      bool      // guarded by mu; bytes were read since it is idle
	wrote      bool      // guarded by mu; bytes were written since it is idle
	failed     bool      // guarded by mu; the last Read failed
	pinned     bool      // guarded by mu; it does not speak HTTP/1.1
	leaving    bool      // guarded by mu; Close was called while a request was read
	gone       bool      // guarded by mu; another clientConn has the connection
	heard      bool      // guarded by mu; bytes were read at any time
	unanswered []byte    // guarded by mu; bytes read since the last Write
	long       bool      // guarded by mu; more bytes than unanswered holds
}

// maxUnanswered limits how much of a request is kept, in bytes.
const maxUnanswered = 64 << 10

var errHandedOver = net.ErrClosed

// connState is called by net/http: see http.Server.ConnState.
func connState(conn net.Conn, state http.ConnState) {
	c := clientConnOf(conn)
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew, http.StateIdle:
		_, c.secure = conn.(*tls.Conn)
		c.watched, c.served = !c.secure, c.served || state == http.StateIdle
		// The pending Read that detects a disconnect is ended before the connection is
		// idle.
		c.idle, c.began, c.wrote, c.failed, c.taken = true, false, false, false, false
	case http.StateHijacked:
		c.idle, c.pinned, c.upgraded = false, true, true
	case http.StateActive, http.StateClosed:
		c.idle = false
	}
}

// clientConnOf returns the connection below TLS, nil if it is not accepted by a
// listener of keptNetwork.
func clientConnOf(conn net.Conn) *clientConn {
	c, _ := plain(conn).(*clientConn)
	return c
}

// connKey is the context key of a request's connection.
type connKey struct{}

// connContext is called by net/http: see http.Server.ConnContext.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// begun records that a handler has a request: it must not be started again. If the
// gateway stops, it asks the client not to use the connection again.
func begun(w http.ResponseWriter, r *http.Request) {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	c := clientConnOf(conn)
	if c == nil {
		if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 { // see mayHaveLength
			w.Header()["Connection"] = []string{"close"}
		}
		return
	}
	if c.socket.stopping.Load() {
		w.Header()["Connection"] = []string{"close"} // with HTTP/2, it makes net/http send GOAWAY
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 && c.mayHaveLength() {
		w.Header()["Connection"] = []string{"close"}
	}
	c.taken, c.served, c.unanswered = true, true, nil
}

// mayHaveLength reports whether a request with a chunked body may have a Content-Length as
// well. The bytes of the request are in unanswered. net/http ignores the Content-Length. A
// proxy in front that uses it would read the next request as part of the body, so the
// connection must be closed after the response (RFC 9112, section 6.1). The caller holds mu.
func (c *clientConn) mayHaveLength() bool {
	return c.secure || c.long || len(c.unanswered) == 0 || bytes.Contains(bytes.ToLower(c.unanswered), []byte("content-length"))
}

// Read returns the bytes left by the previous server, and then reads from the
// connection.
func (c *clientConn) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		c.mu.Lock()
		defer c.mu.Unlock()
		c.note(p[:n], nil)
		return n, nil
	}
	c.mu.Lock()
	if c.leaving && !c.gone {
		c.handOver()
	}
	if c.gone {
		c.mu.Unlock()
		return 0, errHandedOver
	}
	c.reading = true
	c.mu.Unlock()
	n, err := c.TCPConn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	if c.leaving && n == 0 && errors.Is(err, os.ErrDeadlineExceeded) { // Close's
		c.handOver()
		return 0, errHandedOver
	}
	c.note(p[:n], err)
	return n, err
}

// note records bytes that were read. The caller holds mu.
func (c *clientConn) note(read []byte, err error) {
	c.failed = err != nil
	if len(read) == 0 {
		return
	}
	if !c.heard {
		c.heard = true
		// "PRI * HTTP/2.0" differs from PROPFIND in its third byte.
		c.pinned = len(read) < 3 || bytes.HasPrefix(read, []byte("PRI"))
	}
	c.began, c.since = true, time.Now()
	if c.taken {
		// The rest of a request that is being served, or the first byte of the
		// next one.
		if len(c.unanswered)+len(read) > 1 {
			c.unanswered, c.long = nil, true
			return
		}
	}
	if c.long || len(c.unanswered)+len(read) > maxUnanswered {
		c.unanswered, c.long = nil, true
		return
	}
	c.unanswered = append(c.unanswered, read...)
}

// Write writes a part of an answer.
func (c *clientConn) Write(p []byte) (int, error) {
	if !c.writes() {
		return 0, errHandedOver
	}
	return c.TCPConn.Write(p)
}

// ReadFrom is Write from a reader, which may be a file.
func (c *clientConn) ReadFrom(r io.Reader) (int64, error) {
	if !c.writes() {
		return 0, errHandedOver
	}
	return c.TCPConn.ReadFrom(r)
}

func (c *clientConn) writes() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrote, c.unanswered, c.long = true, c.unanswered[:0], false
	return !c.gone
}

// Close closes the connection, or hands it over.
func (c *clientConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A server shuts down before it closes its listener: a newer listener shows it.
	next := c.socket.newest()
	switch {
	case c.gone:
		return nil
	case !c.watched || c.taken || c.wrote || c.failed || c.pinned || c.long || next == nil || next == c.listener:
		return c.end()
	case c.reading:
		c.leaving = true
		return c.TCPConn.SetReadDeadline(time.Unix(1, 0)) // ends the Read
	case c.idle && c.began && !c.leaving:
		// Shutdown closes the connection while the server parses a request, which it
		// then drops: it calls Close again.
		c.leaving = true
		return nil
	}
	c.handOver()
	return nil
}

// end closes the connection. The caller holds mu.
func (c *clientConn) end() error {
	c.socket.dropConn(c)
	return c.TCPConn.Close()
}

// SetDeadline sets both deadlines.
func (c *clientConn) SetDeadline(t time.Time) error {
	return c.setDeadline((*net.TCPConn).SetDeadline, t)
}

// SetReadDeadline sets the deadline of Read.
func (c *clientConn) SetReadDeadline(t time.Time) error {
	return c.setDeadline((*net.TCPConn).SetReadDeadline, t)
}

// SetWriteDeadline sets the deadline of Write.
func (c *clientConn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline((*net.TCPConn).SetWriteDeadline, t)
}

// setDeadline sets a deadline, unless the connection was handed over.
func (c *clientConn) setDeadline(set func(*net.TCPConn, time.Time) error, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return errHandedOver
	}
	return set(c.TCPConn, t)
}

// handOver passes the connection to the newest listener. The caller holds mu.
func (c *clientConn) handOver() {
	c.gone = true
	c.socket.dropConn(c)
	next := c.socket.newConn(c.TCPConn)
	next.ahead, next.heard, next.served = bytes.Clone(c.unanswered), c.heard, c.served
	_ = next.TCPConn.SetDeadline(time.Time{}) // if the deadline cannot be reset, reading fails, too
	go next.socket.deliver(next)
}
