package s3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// trickle returns one byte per pause, until its context ends.
type trickle struct {
	ctx   context.Context
	pause time.Duration
	left  int
}

func (t *trickle) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(t.pause):
	case <-t.ctx.Done():
		return 0, t.ctx.Err()
	}
	t.left--
	p[0] = 'x'
	return 1, nil
}

func (t *trickle) Close() error { return nil }

func get(t *testing.T, body io.Reader, do roundTrip) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://service/", body)
	if err != nil {
		t.Fatal(err)
	}
	return (&steady{base: do, timeout: time.Minute}).RoundTrip(r)
}

func TestProgressIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := &trickle{ctx: t.Context(), pause: 59 * time.Second, left: 100}
		resp, err := get(t, sent, func(r *http.Request) (*http.Response, error) {
			if n, err := io.Copy(io.Discard, r.Body); err != nil || n != 100 {
				t.Errorf("sent %d bytes, %v", n, err)
			}
			return &http.Response{Body: &trickle{ctx: r.Context(), pause: 59 * time.Second, left: 100}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 1)
		for range 10 {
			if _, err := resp.Body.Read(one); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour) // the reader's own time, of the bubble
		}
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != 90 {
			t.Errorf("read %d bytes more, %v", n, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestStandingStill(t *testing.T) {
	for name, do := range map[string]roundTrip{
		"no answer": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"stalled answer": func(r *http.Request) (*http.Response, error) {
			return &http.Response{Body: &trickle{ctx: r.Context(), pause: time.Hour, left: 1}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				resp, err := get(t, strings.NewReader("x"), do)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, errStalled) || time.Since(start) != time.Minute {
					t.Errorf("got %v after %s", err, time.Since(start))
				}
			})
		})
	}
}

func TestNothingIsReadAfterTheEnd(t *testing.T) {
	var left io.ReadCloser
	_, err := get(t, strings.NewReader("bytes of a buffer that is used again"), func(r *http.Request) (*http.Response, error) {
		left = r.Body // as a transport that still writes
		return nil, errors.New("broken")
	})
	if err == nil {
		t.Fatal("no error")
	}
	if n, err := left.Read(make([]byte, 10)); n > 0 || err == nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}
