package caddymodule

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// heldListener accepts nothing before it is released.
type heldListener struct {
	net.Listener
	released <-chan struct{}
}

func (l heldListener) Accept() (net.Conn, error) {
	<-l.released
	return l.Listener.Accept()
}

// stoppable is a server on a socket of keptNetwork.
type stoppable struct {
	*http.Server
	addr    string
	socket  *socket
	release func()      // accepts connections from now on
	tls     *tls.Config // of its clients; nil without TLS
}

// newStoppable starts a server that accepts nothing before it is released.
func newStoppable(t *testing.T, secure bool) *stoppable {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stoppable{addr: free.Addr().String()}
	free.Close()
	at, err := caddy.ParseNetworkAddress(keptNetwork + "/" + s.addr)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := at.Listen(t.Context(), 0, net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	sockets.Lock()
	s.socket = sockets.open[s.addr]
	sockets.Unlock()
	released := make(chan struct{})
	s.release = sync.OnceFunc(func() { close(released) })
	var ln net.Listener = heldListener{opened.(net.Listener), released}
	if secure {
		certified := httptest.NewTLSServer(nil)
		certified.Close()
		ln = tls.NewListener(ln, certified.TLS)
		s.tls = certified.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		s.tls.ServerName, s.tls.NextProtos = "example.com", nil
	}
	s.Server = &http.Server{ConnState: connState, ConnContext: connContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun(w, r)
		_, _ = io.Copy(w, r.Body) // the client sees it
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(ln) // http.ErrServerClosed
	}()
	t.Cleanup(func() { s.release(); s.Close(); <-served })
	return s
}

// dial connects a client.
func (s *stoppable) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if s.tls != nil {
		return tls.Client(conn, s.tls)
	}
	return conn
}

const stopRequest = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"

// answers reads the answer to stopRequest.
func answers(t *testing.T, conn net.Conn) *http.Response {
	t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("reading an answer: got %v, want 200", err)
		return new(http.Response)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || string(text) != "body" {
		t.Errorf("got %d %q %v, want 200 with the body of the request", answer.StatusCode, text, err)
	}
	return answer
}

// A server that stops answers the requests of all clients that have connected: of
// those in the kernel's queue, those whose connection it has accepted, and those that
// have sent a part of a request.
func TestStopAnswersRequestsOnTheirWay(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			s := newStoppable(t, secure)
			clients := make(map[int]net.Conn)
			cases := len(stopRequest) + 1
			if secure {
				// All are alike. More handshakes at once than a loaded machine computes in
				// arrivalLimit would look like clients that are silent.
				cases = 4
			}
			for sent := range cases {
				clients[sent] = s.dial(t)
				if !secure { // a TLS client sends after the handshake
					io.WriteString(clients[sent], stopRequest[:sent])
				}
			}
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				s.socket.serveOut()
				_ = s.Shutdown(context.Background()) // never fails
			}()
			until(t, "the socket stops", s.socket.stopping.Load)
			s.release()
			var all sync.WaitGroup
			for sent, conn := range clients {
				if secure {
					sent = 0
				}
				all.Go(func() {
					io.WriteString(conn, stopRequest[sent:])
					if answer := answers(t, conn); !answer.Close {
						t.Errorf("%d bytes sent before: the connection is kept, want it closed", sent)
					}
				})
			}
			all.Wait()
			<-stopped
			if conn, err := net.Dial("tcp", s.addr); err == nil {
				conn.Close()
				t.Error("the address is open after the stop")
			}
		})
	}
}

// Connections without a request do not hold up a stop: those that had one are closed
// at once, those that never sent a byte a little later.
func TestStopClosesSilentConnections(t *testing.T) {
	s := newStoppable(t, false)
	s.release()
	idle, silent := s.dial(t), s.dial(t)
	io.WriteString(idle, stopRequest)
	if answers(t, idle).Close {
		t.Error("the connection is closed before the stop")
	}
	s.socket.serveOut()
	for name, conn := range map[string]net.Conn{"idle": idle, "silent": silent} {
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: read %d bytes, %v, want the end of the connection", name, n, err)
		}
	}
}

// A request that is being answered does not hold up the closing of the socket, and is
// answered.
func TestStopDoesNotWaitForHandlers(t *testing.T) {
	s := newStoppable(t, false)
	s.release()
	conn := s.dial(t)
	io.WriteString(conn, stopRequest[:len(stopRequest)-1]) // its handler waits for the rest
	until(t, "the handler has the request", func() bool {
		s.socket.mu.Lock()
		defer s.socket.mu.Unlock()
		for c := range s.socket.conns {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.taken
		}
		return false
	})
	s.socket.serveOut()
	io.WriteString(conn, stopRequest[len(stopRequest)-1:])
	answers(t, conn)
}
