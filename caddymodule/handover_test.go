package caddymodule

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// serveKept starts a server that answers with a name, on an address that others
// of the test have as well.
func serveKept(t *testing.T, addr, name string) *http.Server {
	t.Helper()
	at, err := caddy.ParseNetworkAddress(keptNetwork + "/" + addr)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := at.Listen(t.Context(), 0, net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ConnState: connState, ConnContext: connContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun(w, r)
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, name)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(ln.(net.Listener)) // http.ErrServerClosed
	}()
	t.Cleanup(func() { server.Close(); <-served })
	return server
}

// A connection that is idle when its server shuts down is served by the next
// one, from wherever the client is in its request. Without a next one it is
// closed.
func TestIdleConnectionsAreHandedOver(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	old := serveKept(t, addr, "one")

	type client struct {
		net.Conn
		in *bufio.Reader
	}
	answer := func(c client) string {
		t.Helper()
		got, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatalf("reading an answer: %v", err)
		}
		text, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	clients := make(map[int]client)
	for sent := range len(request) { // as much of the next request before the reload
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := client{conn, bufio.NewReader(conn)}
		io.WriteString(c, request)
		if got := answer(c); got != "one" {
			t.Fatalf("got an answer of %q, want one", got)
		}
		io.WriteString(c, request[:sent])
		clients[sent] = c
	}
	last := serveKept(t, addr, "two")
	shutdown := func(s *http.Server) {
		t.Helper()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() { // it waits for connections whose request is being read
		defer close(done)
		shutdown(old)
	}()
	for sent, c := range clients {
		io.WriteString(c, request[sent:])
		// The old server may have been quicker than its end.
		if got := answer(c); got != "two" && got != "one" {
			t.Errorf("with %d bytes sent before: got %q, want an answer", sent, got)
		}
	}
	<-done
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := client{conn, bufio.NewReader(conn)}
	io.WriteString(c, request)
	if got := answer(c); got != "two" {
		t.Errorf("a new connection got %q, want two", got)
	}
	// What a handler has begun is not begun again.
	io.WriteString(c, strings.Replace(request, "/", "/abort", 1))
	if _, err := http.ReadResponse(c.in, nil); err == nil {
		t.Error("a request that was aborted was answered")
	}
	shutdown(last)
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the address is open after the last server")
	}
}
