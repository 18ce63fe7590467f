package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

func TestPartBoundaries(t *testing.T) {
	s := serve(t)
	f := s.files()
	content := pattern(3 * MinPartSize)
	for _, c := range []struct{ size, parts int }{
		{0, 0}, {1, 0}, {MinPartSize - 1, 0}, {MinPartSize, 0}, {MinPartSize + 1, 2}, {2 * MinPartSize, 2}, {3 * MinPartSize, 3},
	} {
		key := fmt.Sprintf("bytes-%d", c.size)
		before := len(s.requests("part"))
		mustStore(t, f, key, content[:c.size])
		if parts := len(s.requests("part")) - before; parts != c.parts {
			t.Errorf("%d bytes took %d parts, want %d", c.size, parts, c.parts)
		}
		holds(t, f, key, content[:c.size])
		got, err := load(t.Context(), f, key, int64(c.size)/2, 10)
		want := content[c.size/2 : min(c.size/2+10, c.size)]
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("a range of %d bytes: got %d bytes, %v", c.size, len(got), err)
		}
	}
	if left := s.bucket.Uploads(); len(left) > 0 {
		t.Errorf("unfinished uploads of %v", left)
	}
}

func TestUploadRunsWhileItIsWritten(t *testing.T) {
	s := serve(t)
	f := s.files()
	w, err := f.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Abort(); err != nil {
			t.Error(err)
		}
	}()
	content := pattern(2*MinPartSize + 1)
	if _, err := w.Write(content); err != nil { // the second part waits for the first
		t.Fatal(err)
	}
	if n := len(s.requests("part")); n == 0 {
		t.Error("no part was sent before Commit")
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	holds(t, f, "a", content)
}

// sink takes uploads and forgets their bytes.
type sink struct{ t *testing.T }

func (s sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		s.t.Errorf("reading the request body: %v", err)
	}
	switch kindOf(r) {
	case "begin":
		_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
	case "part", "put", "ping":
		w.Header().Set("ETag", `"opaque"`)
		if n != r.ContentLength {
			s.t.Errorf("%d bytes came instead of %d", n, r.ContentLength)
		}
	case "abort":
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusBadRequest, "InvalidRequest", "not taken")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := serve(t)
	s.real = sink{t}
	f := s.files()
	w, err := f.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Abort(); err != nil {
			t.Error(err)
		}
	}()
	heap := func() (allocated, live uint64) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc, m.HeapAlloc
	}
	runtime.GC()
	total, live := heap()
	chunk := pattern(1 << 20)
	for range 300 {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.(*writer).land(); err != nil {
		t.Error(err)
	}
	if n := len(s.requests("part")); n < 55 {
		t.Errorf("only %d parts were sent", n)
	}
	runtime.GC()
	totalAfter, liveAfter := heap()
	// Two parts, and memory for requests. The sum of all allocations is an upper
	// bound of the memory in use at any time.
	if grown := int64(liveAfter) - int64(live); grown > 2*MinPartSize+4<<20 {
		t.Errorf("%d bytes more are held after 300 MiB", grown)
	}
	if grown := totalAfter - total; grown > 2*MinPartSize+16<<20 {
		t.Errorf("%d bytes were allocated for 300 MiB", grown)
	}
}

// Many small contents at a time take as much memory as they are long, or so, and
// not a part each.
func TestSmallContentsTakeLittleMemory(t *testing.T) {
	const writers = 100
	f := serve(t).files()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range writers {
		w, err := f.Create(t.Context(), fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := w.Abort(); err != nil {
				t.Error(err)
			}
		}()
		if _, err := w.Write(pattern(10_000)); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > writers*(128<<10) {
		t.Errorf("%d writers of 10 kB hold %d bytes", writers, grown)
	}
}

func TestAKeyIsWrittenOnce(t *testing.T) {
	s := serve(t)
	f := s.files()
	mustStore(t, f, "a", []byte("first"))
	err := store(t.Context(), f, "a", []byte("second"))
	if !errors.Is(err, batch.ErrConflict) || !strings.Contains(err.Error(), "exists") {
		t.Errorf("got %v", err)
	}
	holds(t, f, "a", []byte("first"))
	err = store(t.Context(), f, "a", pattern(MinPartSize+1))
	if !errors.Is(err, batch.ErrConflict) {
		t.Errorf("in parts: got %v", err)
	}
	if got := s.requests("complete")[0].Header.Get("If-None-Match"); got != "*" {
		t.Errorf("completion has If-None-Match %q", got)
	}
	holds(t, f, "a", []byte("first"))
	if left := s.bucket.Uploads(); len(left) > 0 {
		t.Errorf("unfinished uploads of %v", left)
	}
}

func TestServiceWithoutConditions(t *testing.T) {
	s := serve(t)
	f := s.files()
	s.fail("put", 1, refuse(http.StatusNotImplemented, "NotImplemented"))
	mustStore(t, f, "a", []byte("first"))
	if err := store(t.Context(), f, "a", []byte("second")); !errors.Is(err, batch.ErrConflict) {
		t.Errorf("got %v", err)
	}
	big := pattern(MinPartSize + 1)
	if err := store(t.Context(), f, "a", big); !errors.Is(err, batch.ErrConflict) {
		t.Errorf("in parts: got %v", err)
	}
	holds(t, f, "a", []byte("first"))
	// An answer that is lost is no conflict with oneself.
	s.fail("put", 1, hangUpAfter)
	mustStore(t, f, "b", []byte("once"))
	holds(t, f, "b", []byte("once"))
	mustStore(t, f, "c", big)
	holds(t, f, "c", big)
}

func TestLostAnswersOfCommits(t *testing.T) {
	for _, c := range []struct {
		kind    string
		content []byte
	}{{"put", []byte("small")}, {"complete", pattern(MinPartSize + 1)}} {
		t.Run(c.kind, func(t *testing.T) {
			s := serve(t)
			f := s.files()
			s.fail(c.kind, 1, hangUpAfter)
			mustStore(t, f, "a", c.content)
			holds(t, f, "a", c.content)
			if n := len(s.requests(c.kind)); n != 2 {
				t.Errorf("%d requests, want 2", n)
			}
		})
		t.Run(c.kind+" and the key was taken", func(t *testing.T) {
			s := serve(t)
			f := s.files()
			// Another client writes the key in between.
			s.fail(c.kind, 1, func(http.ResponseWriter, *http.Request, http.Handler) {
				mustStore(t, s.files(), "a", []byte("another's"))
				panic(http.ErrAbortHandler)
			})
			s.fail("complete", 1, refuse(http.StatusPreconditionFailed, "PreconditionFailed"))
			if err := store(t.Context(), f, "a", c.content); !errors.Is(err, batch.ErrConflict) {
				t.Errorf("got %v", err)
			}
			holds(t, f, "a", []byte("another's"))
		})
		t.Run(c.kind+" and nothing can be seen", func(t *testing.T) {
			s := serve(t)
			f := s.files()
			s.fail(c.kind, 99, hangUpAfter)
			s.fail("head", f.cfg.Attempts, refuse(http.StatusServiceUnavailable, "SlowDown"))
			err := store(t.Context(), f, "a", c.content)
			if !errors.Is(err, batch.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
			if got := s.bucket.Object("tide/gate/a"); got != nil {
				t.Errorf("%d bytes are left of a content that was not committed", len(got))
			}
		})
	}
}

func TestCompletedWithAnErrorInside(t *testing.T) {
	inside := func(code string) faultFunc {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			answer(w, http.StatusOK, code, "We encountered an internal error. Please try again.")
		}
	}
	content := pattern(MinPartSize + 1)
	t.Run("passing", func(t *testing.T) {
		s := serve(t)
		f := s.files()
		s.fail("complete", 2, inside("InternalError"))
		mustStore(t, f, "a", content)
		holds(t, f, "a", content)
	})
	t.Run("lasting", func(t *testing.T) {
		s := serve(t)
		f := s.files()
		s.fail("complete", 99, inside("InternalError"))
		if err := store(t.Context(), f, "a", content); !errors.Is(err, batch.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		if got := s.bucket.Object("tide/gate/a"); got != nil || len(s.bucket.Uploads()) > 0 {
			t.Errorf("%d bytes and uploads of %v are left", len(got), s.bucket.Uploads())
		}
	})
	t.Run("nothing inside", func(t *testing.T) {
		s := serve(t)
		f := s.files()
		s.fail("complete", 1, func(http.ResponseWriter, *http.Request, http.Handler) {})
		mustStore(t, f, "a", content)
		holds(t, f, "a", content)
	})
	t.Run("a lie", func(t *testing.T) {
		s := serve(t)
		f := s.files()
		s.fail("complete", 1, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_, _ = io.WriteString(w, "<CompleteMultipartUploadResult><Bucket>contents</Bucket><ETag>x-2</ETag></CompleteMultipartUploadResult>")
		})
		if err := store(t.Context(), f, "a", content); err == nil {
			t.Error("Commit of a missing content: got nil, want an error")
		}
	})
}

func TestDamageOnTheWay(t *testing.T) {
	for _, c := range []struct {
		kind    string
		content []byte
	}{{"put", pattern(100_000)}, {"part", pattern(2*MinPartSize + 5)}} {
		t.Run(c.kind+" once", func(t *testing.T) {
			s := serve(t)
			f := s.files()
			s.fail(c.kind, 1, corrupt)
			mustStore(t, f, "a", c.content)
			holds(t, f, "a", c.content)
		})
		t.Run(c.kind+" always", func(t *testing.T) {
			s := serve(t)
			f := s.files()
			s.fail(c.kind, 99, corrupt)
			if err := store(t.Context(), f, "a", c.content); err == nil {
				t.Error("damaged content was committed")
			}
			if got := s.bucket.Object("tide/gate/a"); got != nil || len(s.bucket.Uploads()) > 0 {
				t.Errorf("%d bytes and uploads of %v are left", len(got), s.bucket.Uploads())
			}
		})
		t.Run(c.kind+" at a service that does not check", func(t *testing.T) {
			s := serve(t)
			f := s.files()
			s.fail(c.kind, 1, func(w http.ResponseWriter, r *http.Request, real http.Handler) {
				r.Header.Del("Content-MD5")
				corrupt(w, r, real)
			})
			mustStore(t, f, "a", c.content)
			holds(t, f, "a", c.content)
		})
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	s := serve(t)
	f := s.files()
	content := pattern(2*MinPartSize + 1)
	begin := func() batch.FileWriter {
		t.Helper()
		w, err := f.Create(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		return w
	}
	check := func(what string) {
		t.Helper()
		if left := s.bucket.Uploads(); len(left) > 0 || s.bucket.Object("tide/gate/a") != nil {
			t.Errorf("%s: uploads of %v are left", what, left)
		}
	}
	w := begin()
	if len(s.bucket.Uploads()) != 1 {
		t.Fatal("no upload has begun")
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	check("abort")

	s.fail("begin", 1, hangUpAfter) // the id of the upload is lost
	w = begin()
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	check("abort after a lost answer")

	ctx, cancel := context.WithCancel(t.Context())
	w = begin()
	s.fail("complete", 1, func(_ http.ResponseWriter, r *http.Request, real http.Handler) {
		hangUpAfter(nil, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			real.ServeHTTP(w, r)
			cancel()
			<-r.Context().Done()
		}))
	})
	if err := w.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	check("commit cancelled while it was carried out")

	w = begin()
	s.fail("complete", 1, refuse(http.StatusForbidden, "AccessDenied"))
	if err := w.Commit(t.Context()); err == nil {
		t.Error("committed without permission")
	}
	check("refused commit")
}

func TestCreateEndsWithItsContext(t *testing.T) {
	s := serve(t)
	f := s.files()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	w, err := f.Create(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	s.fail("part", 1, func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		cancel()
		swallow(w, r, real)
	})
	_, err = w.Write(pattern(3 * MinPartSize))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("writing: got %v, want context.Canceled", err)
	}
	if _, again := w.Write([]byte("x")); !errors.Is(again, err) {
		t.Errorf("writing after an error: %v", again)
	}
	if err := w.Commit(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("committing after an error: %v", err)
	}
	if left := s.bucket.Uploads(); len(left) > 0 {
		t.Errorf("unfinished uploads of %v", left)
	}
}

func TestEndedWriter(t *testing.T) {
	f := serve(t).files()
	w, err := f.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("written after Commit")
	}
	if err := w.Commit(t.Context()); err == nil {
		t.Error("committed twice")
	}
	holds(t, f, "a", nil)
}

func TestCrashLeftoversAreRemoved(t *testing.T) {
	s := serve(t)
	crashed := s.files()
	for _, prefix := range []string{"tide/gate", "tide/gate/below", "tide/gateway", ""} {
		cfg := s.config()
		cfg.Prefix = prefix
		f := s.open(cfg)
		for i := range 3 { // and then they are forgotten
			w, err := f.Create(t.Context(), fmt.Sprintf("old-%d", i))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(pattern(MinPartSize + 1)); err != nil {
				t.Fatal(err)
			}
			if err := w.(*writer).land(); err != nil {
				t.Fatal(err)
			}
		}
	}
	crashed.page = 2
	list := func() int {
		t.Helper()
		if err := crashed.List(t.Context(), func(string, time.Time) error { return nil }); err != nil {
			t.Error(err)
		}
		return len(s.bucket.Uploads())
	}
	if n := list(); n != 12 {
		t.Errorf("%d young uploads are left of 12", n)
	}
	s.clock.add(staleAge + time.Second)
	s.fail("uploads", 1, refuse(http.StatusServiceUnavailable, "SlowDown"))
	s.fail("abort", 1, hangUpAfter)
	if n := list(); n != 9 {
		t.Errorf("%d uploads are left, want the 9 of other prefixes: %v", n, s.bucket.Uploads())
	}
	s.fail("uploads", 1, refuse(http.StatusNotImplemented, "NotImplemented"))
	list()
	s.fail("uploads", 1, refuse(http.StatusForbidden, "AccessDenied"))
	if err := crashed.List(t.Context(), func(string, time.Time) error { return nil }); err == nil {
		t.Error("error does not name the missing permission")
	}
}
