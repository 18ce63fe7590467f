package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// cutAfter sends n bytes of the answer and cuts the connection.
func cutAfter(n int) faultFunc {
	return func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		whole := httptest.NewRecorder()
		real.ServeHTTP(whole, r)
		maps.Copy(w.Header(), whole.Header())
		w.WriteHeader(whole.Code)
		_, _ = w.Write(whole.Body.Bytes()[:n])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestReadGoesOnAfterABreak(t *testing.T) {
	content := pattern(1 << 20)
	for _, c := range []struct {
		name           string
		offset, length int64
		from, to       int
	}{
		{"all", 0, -1, 0, len(content)},
		{"from the middle", 300_000, -1, 300_000, len(content)},
		{"a range", 1000, 700_000, 1000, 701_000},
		{"a range beyond the end", 500_000, 1 << 40, 500_000, len(content)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t)
			f := s.files()
			mustStore(t, f, "a", content)
			s.fail("get", 1, cutAfter(200_000))
			s.fail("get", 1, hangUp)
			s.fail("get", 1, refuse(http.StatusServiceUnavailable, "SlowDown"))
			s.fail("get", 1, cutAfter(1))
			s.fail("get", 2, cutAfter(0))
			got, err := load(t.Context(), f, "a", c.offset, c.length)
			if err != nil || !bytes.Equal(got, content[c.from:c.to]) {
				t.Errorf("got %d bytes, want %d: %v", len(got), c.to-c.from, err)
			}
			for i, r := range s.requests("get") {
				want := ""
				if i > 0 {
					want = `"` + checksumOf(content).etag() + `"`
				}
				if got := r.Header.Get("If-Match"); got != want {
					t.Errorf("request %d has If-Match %q, want %q", i, got, want)
				}
			}
		})
	}
}

func TestReadGivesUp(t *testing.T) {
	s := serve(t)
	f := s.files()
	mustStore(t, f, "a", pattern(1000))
	s.fail("get", 1, cutAfter(10))
	s.fail("get", 99, cutAfter(0))
	got, err := load(t.Context(), f, "a", 0, -1)
	if !errors.Is(err, batch.ErrUnavailable) || len(got) != 10 {
		t.Errorf("got %d bytes and %v, want 10 and ErrUnavailable", len(got), err)
	}
	if n := len(s.requests("get")); n > f.cfg.Attempts+1 {
		t.Errorf("%d requests, want %d at most after the first byte", n, f.cfg.Attempts)
	}
}

func TestReadOfWhatChanges(t *testing.T) {
	s := serve(t)
	f := s.files()
	mustStore(t, f, "a", pattern(1000))
	s.fail("get", 1, cutAfter(10))
	s.fail("get", 1, refuse(http.StatusPreconditionFailed, "PreconditionFailed"))
	if _, err := load(t.Context(), f, "a", 0, -1); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("changed: got %v", err)
	}
	s.fail("get", 1, func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		defer func() {
			if err := f.Delete(t.Context(), "a"); err != nil {
				t.Error(err)
			}
			panic(http.ErrAbortHandler)
		}()
		func() {
			defer func() { _ = recover() }()
			cutAfter(10)(w, r, real)
		}()
	})
	if _, err := load(t.Context(), f, "a", 0, -1); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("deleted: got %v, want ErrNotFound", err)
	}
}

func TestServiceThatIgnoresRanges(t *testing.T) {
	s := serve(t)
	f := s.files()
	content := pattern(1000)
	mustStore(t, f, "a", content)
	s.fail("get", 2, func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		r.Header.Del("Range")
		real.ServeHTTP(w, r)
	})
	if got, err := load(t.Context(), f, "a", 0, 10); err != nil || !bytes.Equal(got, content[:10]) {
		t.Errorf("from the start: got %d bytes, %v", len(got), err)
	}
	if got, err := load(t.Context(), f, "a", 5, 10); err == nil {
		t.Errorf("from the middle: got %d wrong bytes", len(got))
	}
}

func TestNotFoundIsToldAtOnce(t *testing.T) {
	s := serve(t)
	f := s.files()
	mustStore(t, f, "empty", nil)
	for _, length := range []int64{-1, 0, 5} {
		if _, err := f.Read(t.Context(), "nothing", 0, length); !errors.Is(err, batch.ErrNotFound) {
			t.Errorf("length %d: got %v, want ErrNotFound", length, err)
		}
		if got, err := load(t.Context(), f, "empty", 0, length); err != nil || len(got) > 0 {
			t.Errorf("length %d of an empty content: got %d bytes, %v", length, len(got), err)
		}
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	s := serve(t)
	f := s.files()
	mustStore(t, f, "a", pattern(8<<20))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := f.Read(ctx, "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("read after Close")
	}
}
