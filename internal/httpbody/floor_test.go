package httpbody

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// client is the connection of a client: a body that is written piece by piece
// and whose Read ends with a deadline.
type client struct {
	http.ResponseWriter
	*io.PipeReader
	w        *io.PipeWriter
	deadline time.Time // in the future, zero for none
}

func newClient() *client {
	r, w := io.Pipe()
	return &client{ResponseWriter: httptest.NewRecorder(), PipeReader: r, w: w}
}

var errDeadline = errors.New("deadline")

func (c *client) SetReadDeadline(at time.Time) error {
	if at.IsZero() || at.After(time.Now()) {
		c.deadline = at
		return nil
	}
	return c.CloseWithError(errDeadline)
}

func (c *client) Close() error { return nil }

// watched reads all that the client sends.
func watched(t *testing.T, f Floor, c *client) (n int64, err error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Body = c
	body, stop := f.Watch(c, r)
	defer stop()
	return io.Copy(io.Discard, body)
}

func TestFloor(t *testing.T) {
	kib := strings.Repeat("a", 1<<10)
	for name, c := range map[string]struct {
		send   func(io.Writer)
		slow   bool
		within time.Duration // after which the request ends at most
	}{
		"nothing": {func(io.Writer) { time.Sleep(time.Hour) }, true, 30 * time.Second},
		"half, then nothing": {func(w io.Writer) {
			for range 1000 {
				io.WriteString(w, kib)
			}
			time.Sleep(time.Hour)
		}, true, time.Minute},
		"a byte a second": {func(w io.Writer) {
			for range 3600 {
				time.Sleep(time.Second)
				io.WriteString(w, "a")
			}
		}, true, 30 * time.Second},
		"2 KiB/s for an hour": {func(w io.Writer) {
			for range 3600 {
				time.Sleep(time.Second)
				io.WriteString(w, kib+kib)
			}
		}, false, time.Hour},
		"all at once": {func(w io.Writer) { io.WriteString(w, kib) }, false, 0},
		"a pause shorter than the grace": {func(w io.Writer) {
			for range 40 {
				io.WriteString(w, kib)
			}
			time.Sleep(29 * time.Second)
			io.WriteString(w, kib)
		}, false, 29 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := newClient()
				done := make(chan struct{})
				go func() {
					defer close(done)
					c.send(conn.w)
					conn.w.Close()
				}()
				began := time.Now()
				_, err := watched(t, Floor{}, conn)
				took := time.Since(began)
				if took > c.within {
					t.Errorf("it took %v, want at most %v", took, c.within)
				}
				e, ok := errors.AsType[*openai.Error](err)
				if c.slow != (ok && e.Status == http.StatusRequestTimeout) || !c.slow && err != nil {
					t.Errorf("got %v, want slow %v", err, c.slow)
				}
				<-done
			})
		})
	}
}

// Time that the gateway spends between two reads is not the client's.
func TestFloorCountsTimeOfReadingOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newClient()
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Body = conn
		body, stop := Floor{}.Watch(conn, r)
		defer stop()
		go func() {
			for range 4 {
				io.WriteString(conn.w, "a")
			}
			conn.w.Close()
		}()
		one := make([]byte, 1)
		for range 4 {
			if _, err := body.Read(one); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		if _, err := body.Read(one); err != io.EOF {
			t.Errorf("got %v, want the end", err)
		}
	})
}

// A body that is not read has a deadline until the first Read, because net/http reads it before
// it answers. With HTTP/2 nothing reads it, and a deadline would break a body that is read late.
func TestUnreadBodyHasDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for major, want := range map[int]time.Time{1: time.Now().Add(30 * time.Second), 2: {}} {
			conn := newClient()
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.ProtoMajor = major
			r.Body = conn
			body, stop := Floor{}.Watch(conn, r)
			if !conn.deadline.Equal(want) {
				t.Errorf("HTTP/%d: the deadline is %v, want %v", major, conn.deadline, want)
			}
			go io.WriteString(conn.w, "a")
			if _, err := body.Read(make([]byte, 1)); err != nil || !conn.deadline.IsZero() {
				t.Errorf("HTTP/%d: after a Read: %v, the deadline is %v, want none", major, err, conn.deadline)
			}
			stop()
		}
	})
}
