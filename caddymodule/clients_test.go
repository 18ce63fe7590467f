package caddymodule

import (
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// named is a connection that a test closes.
type named struct {
	net.Conn
	name   string
	closed *[]string
}

func (n *named) Close() error {
	*n.closed = append(*n.closed, n.name)
	return nil
}

// clientsTest are connections by name, and which of them were closed.
type clientsTest struct {
	*clientConns
	t          *testing.T
	few, fewer bool // there is no room; the reserve is scarce
	sent       string
	conns      map[string]*named
	closed     []string
}

func newClientsTest(t *testing.T) *clientsTest {
	c := &clientsTest{t: t, conns: make(map[string]*named)}
	c.clientConns = newClientConns(func() bool { return !c.few }, func() bool { return c.fewer })
	c.pending = func(conn net.Conn) bool { return conn.(*named).name == c.sent }
	return c
}

func (c *clientsTest) become(state http.ConnState, names ...string) {
	for _, name := range names {
		if c.conns[name] == nil {
			c.conns[name] = &named{name: name, closed: &c.closed}
		}
		c.changed(c.conns[name], state)
	}
}

func (c *clientsTest) want(names ...string) {
	c.t.Helper()
	if !slices.Equal(c.closed, names) {
		c.t.Fatalf("closed %v, want %v", c.closed, names)
	}
	c.closed = nil
}

// TestIdleClientsMakeRoom checks that the longest idle connection is closed first, and that
// connections with a running or a new request are kept.
func TestIdleClientsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClientsTest(t)
		c.become(http.StateNew, "a", "b", "c", "d")
		c.become(http.StateActive, "a", "b", "c", "d")
		c.become(http.StateIdle, "c", "b", "a")
		c.want()

		c.few, c.sent = true, "c"
		c.become(http.StateNew, "e")
		c.want("b")
		c.become(http.StateClosed, "b")
		if !c.yield() {
			t.Error("no connection was closed, want the idle one")
		}
		c.want("a")
		if c.yield() {
			t.Errorf("got %v closed, want none: e is new, c has sent a request, d works", c.closed)
		}
		c.want()
		time.Sleep(silence)
		if !c.yield() {
			t.Error("no connection was closed, want the silent one")
		}
		c.want("e")
		c.become(http.StateClosed, "a", "c", "d", "e")
		if n := len(c.at) + c.idle.Len() + c.silent.Len(); n != 0 {
			t.Errorf("%d connections are remembered, want 0", n)
		}
	})
}

// The reserve serves new connections while it lasts. Then none is accepted until
// another ends, and if none does, one that says nothing is closed, or the new
// one.
func TestScarceReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClientsTest(t)
		c.few = true
		c.become(http.StateNew, "a")
		c.become(http.StateActive, "a")
		c.want()

		c.fewer = true
		accepted := make(chan struct{})
		go func() {
			defer close(accepted)
			c.become(http.StateNew, "b")
		}()
		synctest.Wait()
		select {
		case <-accepted:
			t.Error("b was accepted, want it to wait for a")
		default:
		}
		c.fewer = false
		c.become(http.StateClosed, "a")
		<-accepted
		c.want()

		c.fewer = true
		c.become(http.StateNew, "c")
		c.want("b") // which has not said anything
		c.become(http.StateActive, "c")
		c.become(http.StateNew, "d")
		c.want("d")
	})
}
