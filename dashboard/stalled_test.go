package dashboard_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/dashboard"
)

// tight is a listener whose connections take little that is not read.
type tight struct{ net.Listener }

func (l tight) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if err := c.(*net.TCPConn).SetWriteBuffer(1 << 12); err != nil {
		return nil, err
	}
	return c, nil
}

// serveTight is serve with connections that are full soon.
func (h *harness) serveTight() (addr string) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.dashboard.ServeHTTP(&idleTimeoutWriter{ResponseWriter: w}, r)
	}))
	server.Listener = tight{server.Listener}
	server.Start()
	h.Cleanup(func() {
		h.dashboard.Close()
		server.Close()
	})
	return server.Listener.Addr().String()
}

// idleTimeoutWriter is like Caddy's, which is for the goroutine of the handler: the race
// detector finds deadlines that another one sets with it.
type idleTimeoutWriter struct {
	http.ResponseWriter
	deadline time.Time
}

func (w *idleTimeoutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *idleTimeoutWriter) SetWriteDeadline(t time.Time) error {
	err := http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
	w.deadline = t
	return err
}

func (w *idleTimeoutWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	if w.deadline.After(time.Now()) {
		err = errors.Join(err, http.NewResponseController(w.ResponseWriter).SetWriteDeadline(w.deadline))
	}
	return n, err
}

// ask sends a request on a new connection, without reading from it.
func ask(t *testing.T, addr, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(1 << 12); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr); err != nil {
		t.Fatal(err)
	}
	return c
}

// keepChanging changes a batch all the time, so that its page has news, until
// the test ends.
func (h *harness) keepChanging(id string) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				h.Change(id, func(b *dashboard.BatchDetail) { b.Counts.Completed++ })
			}
		}
	}()
	h.Cleanup(func() { close(stop); <-stopped })
}

// TestStalledViewer checks that a viewer that does not read does not delay others, and is
// dropped after the patience.
func TestStalledViewer(t *testing.T) {
	h := build(t, nil, quick, func(c *dashboard.Config) { c.Viewers = 2 })
	h.dashboard.SetPatience(100 * time.Millisecond)
	addr := h.serveTight()
	id := h.IDs()[2]
	h.keepChanging(id)
	ask(t, addr, "/dashboard/events/batches/"+id)
	other := watch(t, "http://"+addr+"/dashboard/events/batches/"+id)
	for {
		if _, ok := other.next(); !ok {
			t.Fatal("the other viewer's stream ended")
		}
		third := watch(t, "http://"+addr+"/dashboard/events/batches/"+id)
		third.resp.Body.Close()
		if third.resp.StatusCode == http.StatusOK {
			return // the place is free
		}
	}
}

// Closing the dashboard does not wait for the patience with a viewer who reads
// nothing.
func TestCloseLeavesStalledViewer(t *testing.T) {
	h := build(t, nil, quick)
	h.dashboard.SetPatience(time.Hour)
	addr := h.serveTight()
	id := h.IDs()[2]
	h.keepChanging(id)
	c := ask(t, addr, "/dashboard/events/batches/"+id)
	if _, err := c.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	other := watch(t, "http://"+addr+"/dashboard/events/batches/"+id)
	for range 200 { // by now the first is full
		if _, ok := other.next(); !ok {
			t.Fatal("the stream ended")
		}
	}
	closed := make(chan struct{})
	go func() { h.dashboard.Close(); close(closed) }()
	for {
		if _, ok := other.next(); !ok {
			break
		}
	}
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		c.Close() // so that the test ends
		<-closed
		t.Fatal("it waits for a viewer who reads nothing")
	}
}

// A connection whose stream has ended is not used again: its deadline would cut
// off the answer to the next request.
func TestStreamsConnectionEnds(t *testing.T) {
	h := build(t, nil, quick)
	c := ask(t, strings.TrimSuffix(strings.TrimPrefix(h.serve(), "http://"), "/dashboard"), "/dashboard/events/batches/"+h.IDs()[8])
	from := bufio.NewReader(c)
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.post("/batches/" + h.IDs()[8] + "/delete")
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(text), "event: gone\n") {
		t.Fatalf("the stream ended with %v: %.500s", err, text)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := from.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("connection is still open: %v", err)
	}
}
