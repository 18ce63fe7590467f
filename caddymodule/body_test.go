package caddymodule

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// newBodyServer echoes bodies that are read as b says.
func newBodyServer(t *testing.T, b BodyConfig, limit int64) *httptest.Server {
	t.Helper()
	d := &door{app: &App{Body: b}}
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestTimeout)
			return
		}
		_, _ = w.Write(text)
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.serveBody(w, r, limit, echo) }))
	t.Cleanup(s.Close)
	return s
}

// A client that sends half of its body and then nothing is answered, on a real
// connection.
func TestStalledBodyIsAnswered(t *testing.T) {
	s := newBodyServer(t, BodyConfig{Grace: caddy.Duration(20 * time.Millisecond)}, 0)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestTimeout {
		t.Errorf("got %s, want 408", answer.Status)
	}
}

// A connection whose body has come is of use for further requests.
func TestWatchedConnectionsAreKept(t *testing.T) {
	s := newBodyServer(t, BodyConfig{}, 0)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	io.WriteString(w, "hello")
	w.Close()
	for _, c := range []struct{ coding, body, want string }{
		{"", "hello", "hello"},
		{"gzip", packed.String(), "hello"},
		{"br", "hello", "Unsupported Content-Encoding"},
		{"", "again", "again"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.coding != "" {
			r.Header.Set("Content-Encoding", c.coding)
		}
		answer, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !strings.Contains(string(text), c.want) {
			t.Errorf("%s %q: got %q, %v; want %q", c.coding, c.body, text, err, c.want)
		}
		if unsupported := c.coding == "br"; unsupported != (answer.StatusCode == http.StatusUnsupportedMediaType) {
			t.Errorf("%s: got %s", c.coding, answer.Status)
		}
	}
}
