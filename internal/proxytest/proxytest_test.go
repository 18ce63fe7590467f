package proxytest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers every line with itself until the test ends.
func echo(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) send(line string) {
	if _, err := io.WriteString(c.conn, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) hear(within time.Duration) (string, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		c.t.Fatal(err)
	}
	return c.r.ReadString('\n')
}

func TestProxy(t *testing.T) {
	p := Start(t, echo(t))
	c := dial(t, p.Addr)
	wants := func(want string) {
		t.Helper()
		if got, err := c.hear(10 * time.Second); got != want+"\n" || err != nil {
			t.Fatalf("heard %q, %v, want %q", got, err, want)
		}
	}
	c.send("one")
	wants("one")
	p.Swallow()
	c.send("two")
	if got, err := c.hear(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a black hole said %q, %v", got, err)
	}
	p.Heal()
	wants("two")
	p.Cut()
	if got, err := c.hear(10 * time.Second); err == nil {
		t.Fatalf("a connection that was cut said %q", got)
	}
	c = dial(t, p.Addr)
	c.send("three")
	wants("three")
}

// TestNobodyBehind checks that a connection ends if there is no server behind the proxy.
func TestNobodyBehind(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	p := Start(t, addr)
	if got, err := dial(t, p.Addr).hear(10 * time.Second); err == nil {
		t.Errorf("heard %q", got)
	}
}
