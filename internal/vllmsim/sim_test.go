package vllmsim_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const chatPath = "/v1/chat/completions"

// chatWith is the body of a chat whose prompt is text, which must need no
// escapes.
func chatWith(text string) string {
	return `{"model":"sim","messages":[{"role":"user","content":"` + text + `"}]}`
}

func streamed(body string) string {
	return strings.TrimSuffix(body, "}") + `,"stream":true}`
}

// post sends a body straight to the handler.
func post(t *testing.T, s *vllmsim.Server, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	return postContext(t.Context(), s, path, body)
}

func postContext(ctx context.Context, s *vllmsim.Server, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func get(t *testing.T, s *vllmsim.Server, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

// wantAbort fails the test unless the handler cut the connection.
func wantAbort(t *testing.T, recovered any) {
	t.Helper()
	if err, ok := recovered.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		t.Errorf("the handler gave %v, want http.ErrAbortHandler", recovered)
	}
}

// event is one of a stream of server-sent events.
type event struct{ name, data string }

func events(t *testing.T, stream string) []event {
	t.Helper()
	var all []event
	for text := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		var e event
		for line := range strings.SplitSeq(text, "\n") {
			name, value, ok := strings.Cut(line, ": ")
			switch {
			case ok && name == "event":
				e.name = value
			case ok && name == "data":
				e.data = value
			default:
				t.Fatalf("line %q is no part of an event", line)
			}
		}
		all = append(all, e)
	}
	return all
}

// network runs a server on a real connection without a real network, so that
// it may stand in a synctest bubble.
type network struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newNetwork() *network {
	return &network{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// client keeps no connections and follows no redirects.
func (n *network) client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: n.dial, DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *network) Addr() net.Addr { return &net.UnixAddr{Name: "sim", Net: "unix"} }

func (n *network) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.conns <- server:
		return client, nil
	case <-n.closed:
		return nil, errors.New("connection refused")
	}
}

// serve starts a server on a network of its own until the test ends.
func serve(t *testing.T, s *vllmsim.Server) *http.Client {
	t.Helper()
	n := newNetwork()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, n) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return n.client()
}

// send posts to a server that serve started.
func send(ctx context.Context, c *http.Client, path, body string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://sim"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return c.Do(r)
}

// exchange posts and reads the answer to its end. Either may fail.
func exchange(ctx context.Context, c *http.Client, path, body string) (*http.Response, string, error) {
	resp, err := send(ctx, c, path, body)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err // including the part before an error
}
