package s3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// everyKind sends each kind of request.
func everyKind(t *testing.T, f *Files) error {
	t.Helper()
	ctx := t.Context()
	big := pattern(2*MinPartSize + 1)
	var errs []error
	errs = append(errs, store(ctx, f, "small", []byte("x")), store(ctx, f, "big", big))
	got, err := load(ctx, f, "big", 0, -1)
	if err == nil && string(got) != string(big) {
		t.Error("the content is another")
	}
	errs = append(errs, err)
	w, err := f.Create(ctx, "aborted")
	if err == nil {
		_, err = w.Write(big)
		errs = append(errs, err, w.Abort())
	}
	errs = append(errs, err,
		f.List(ctx, func(string, time.Time) error { return nil }),
		f.Delete(ctx, "small"), f.Delete(ctx, "big"))
	return errors.Join(errs...)
}

var kinds = []string{"ping", "put", "begin", "part", "complete", "head", "get", "list", "uploads", "abort", "delete"}

func TestPassingFaultsOfEveryRequest(t *testing.T) {
	for name, do := range map[string]faultFunc{
		"SlowDown":             refuse(http.StatusServiceUnavailable, "SlowDown"),
		"internal error":       refuse(http.StatusInternalServerError, "InternalError"),
		"bad gateway, no body": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusBadGateway) },
		"no answer":            hangUp,
		"answer lost":          hangUpAfter,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			for _, kind := range kinds {
				s.fail(kind, 2, do)
			}
			f := s.files()
			if err := everyKind(t, f); err != nil {
				t.Error(err)
			}
			for _, kind := range kinds {
				if n := len(s.requests(kind)); n < 3 {
					t.Errorf("%d requests of kind %s", n, kind)
				}
			}
			if left := s.bucket.Uploads(); len(left) > 0 && name != "answer lost" {
				t.Errorf("unfinished uploads of %v", left)
			}
		})
	}
}

func TestLastingFaultsAreUnavailable(t *testing.T) {
	s := serve(t)
	f := s.files()
	mustStore(t, f, "there", []byte("x"))
	s.clock.add(goodAnswer)
	s.fail("", 1_000_000, refuse(http.StatusServiceUnavailable, "SlowDown"))
	before := len(s.requests("get"))
	_, reading := f.Read(t.Context(), "there", 0, -1)
	if n := len(s.requests("get")) - before; n != f.cfg.Attempts {
		t.Errorf("%d attempts, want %d", n, f.cfg.Attempts)
	}
	for name, err := range map[string]error{
		"ping": f.Ping(t.Context()), "store": store(t.Context(), f, "a", nil), "store parts": store(t.Context(), f, "b", pattern(2*MinPartSize+1)),
		"read": reading, "delete": f.Delete(t.Context(), "there"),
		"list": f.List(t.Context(), func(string, time.Time) error { return nil }),
		"open": s.driver(s.config()).Open(t.Context()),
	} {
		if !errors.Is(err, batch.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", name, err)
		}
	}
}

func TestConnectionCutInsideAPart(t *testing.T) {
	s := serve(t)
	f := s.files()
	content := pattern(3*MinPartSize + 7)
	s.fail("part", 2, hangUpInside)
	mustStore(t, f, "a", content)
	holds(t, f, "a", content)
	s.fail("put", 2, hangUpInside)
	mustStore(t, f, "b", content[:MinPartSize])
	holds(t, f, "b", content[:MinPartSize])
}

// answerEarly refuses a request before it has read the body.
func answerEarly(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	answer(w, http.StatusServiceUnavailable, "SlowDown", "not now")
}

func TestAnswerBeforeAllIsSent(t *testing.T) {
	s := serve(t)
	f := s.files()
	content := pattern(3*MinPartSize + 7)
	s.fail("part", 3, answerEarly)
	mustStore(t, f, "a", content)
	holds(t, f, "a", content)
}

func TestBlackHole(t *testing.T) {
	stalledBody := func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if r.Header.Get("Range") != "" { // after the first bytes
			swallow(w, r, real)
			return
		}
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		_, _ = io.WriteString(w, "the first bytes")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	noReading := func(http.ResponseWriter, *http.Request, http.Handler) {
		<-t.Context().Done() // a server that does not read the body does not notice that the client disconnects
	}
	s := serve(t)
	setup := s.files()
	mustStore(t, setup, "there", []byte("x"))
	cfg := s.config()
	cfg.Timeout, cfg.Attempts = 100*time.Millisecond, 2
	f := s.open(cfg)
	s.clock.add(goodAnswer)
	for name, hole := range map[string]faultFunc{"no answer": swallow, "not even read": noReading, "stalled answer": stalledBody} {
		s.fail("", 1_000_000, hole)
		for what, do := range map[string]func() error{
			"ping":  func() error { return f.Ping(t.Context()) },
			"store": func() error { return store(t.Context(), f, "a", []byte("x")) },
			"store parts": func() error {
				return store(t.Context(), f, "b", pattern(MinPartSize+1))
			},
			"read":   func() error { _, err := load(t.Context(), f, "there", 0, -1); return err },
			"delete": func() error { return f.Delete(t.Context(), "there") },
			"list":   func() error { return f.List(t.Context(), func(string, time.Time) error { return nil }) },
		} {
			if name == "stalled answer" && (what == "ping" || what == "store" || what == "delete") {
				continue // only the status matters
			}
			if err := do(); !errors.Is(err, batch.ErrUnavailable) || !strings.Contains(err.Error(), "no progress") {
				t.Errorf("%s, %s: got %v, want ErrUnavailable after a lack of progress", name, what, err)
			}
			s.clock.add(badAnswer)
		}
		s.heal()
	}
	holds(t, setup, "there", []byte("x"))
}

func TestContextEndsWaiting(t *testing.T) {
	s := serve(t)
	f := s.files()
	f.backoff = func(int) time.Duration { return time.Hour }
	mustStore(t, f, "there", []byte("x"))
	for name, do := range map[string]faultFunc{"no answer": swallow, "between attempts": refuse(http.StatusServiceUnavailable, "SlowDown")} {
		ctx, cancel := context.WithCancel(t.Context())
		s.fail("get", 1, func(w http.ResponseWriter, r *http.Request, real http.Handler) {
			cancel()
			do(w, r, real)
		})
		if _, err := f.Read(ctx, "there", 0, -1); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", name, err)
		}
		cancel()
	}
}

func TestClearErrors(t *testing.T) {
	s := serve(t)
	f := s.files()
	mustStore(t, f, "there", []byte("x"))
	both := func(name string, wantSaid string, wantIs error) {
		t.Helper()
		_, reading := f.Read(t.Context(), "there", 0, -1)
		for _, err := range []error{reading, store(t.Context(), f, "new", nil), f.Delete(t.Context(), "there")} {
			switch {
			case err == nil || !strings.Contains(err.Error(), wantSaid):
				t.Errorf("%s: got %v, want %q in it", name, err, wantSaid)
			case wantIs != nil && !errors.Is(err, wantIs):
				t.Errorf("%s: got %v, want %v", name, err, wantIs)
			case wantIs == nil && (errors.Is(err, batch.ErrNotFound) || errors.Is(err, batch.ErrUnavailable)):
				t.Errorf("%s: error %v is temporary or not found, want permanent", name, err)
			}
		}
		s.heal()
	}
	for _, c := range []struct {
		status int
		code   string
		said   string
		is     error
	}{
		{http.StatusForbidden, "AccessDenied", `access to bucket "contents" was denied`, nil},
		{http.StatusForbidden, "SignatureDoesNotMatch", "check the credentials", nil},
		{http.StatusForbidden, "RequestTimeTooSkewed", "the clock of this machine", nil},
		{http.StatusForbidden, "InvalidAccessKeyId", "check the credentials", nil},
		{http.StatusNotFound, "NoSuchBucket", `bucket "contents" does not exist at ` + s.url, nil},
		{http.StatusMovedPermanently, "PermanentRedirect", "another region than us-east-1", nil},
		{http.StatusInsufficientStorage, "XMinioStorageFull", "507", batch.ErrNoSpace},
		{http.StatusForbidden, "QuotaExceeded", "QuotaExceeded", batch.ErrNoSpace},
		{http.StatusBadRequest, "XMinioAdminBucketQuotaExceeded", "400", batch.ErrNoSpace},
		{http.StatusBadRequest, "InvalidRequest", "said by the test", nil},
		{http.StatusTooManyRequests, "TooManyRequests", "429", batch.ErrUnavailable},
	} {
		s.fail("", 1000, refuse(c.status, c.code))
		both(c.code, c.said, c.is)
	}
}

func TestNoSpaceInMidWrite(t *testing.T) {
	s := serve(t)
	f := s.files()
	for _, kind := range []string{"begin", "part", "complete"} {
		s.fail(kind, 1, refuse(http.StatusInsufficientStorage, "XMinioStorageFull"))
		if err := store(t.Context(), f, "a", pattern(3*MinPartSize)); !errors.Is(err, batch.ErrNoSpace) {
			t.Errorf("%s: got %v, want ErrNoSpace", kind, err)
		}
		if left := s.bucket.Uploads(); len(left) > 0 {
			t.Errorf("%s: unfinished uploads of %v", kind, left)
		}
	}
}

func TestSecretsAreNotTold(t *testing.T) {
	s := serve(t)
	cfg := s.config()
	cfg.SessionToken = "session-token-of-the-test"
	f := s.open(cfg)
	mustStore(t, f, "there", []byte("x"))
	// A service that echoes all headers and parameters, and other text.
	echo := func(status int, form string) faultFunc {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			said := secretKey + " " + strings.Join(r.Header.Values("X-Amz-Security-Token"), " ")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.ReplaceAll(form, "%", said))
		}
	}
	for _, status := range []int{200, 400, 403, 404, 500, 503, 507} {
		for _, form := range []string{
			"%", "<Error><Code>Strange</Code><Message>%</Message></Error>", "<Error><Code>%</Code><RequestId>%</RequestId></Error>",
			"<Error><Message>" + strings.Repeat("x", maxSaid-10) + "%</Message></Error>",
		} {
			s.fail("", 1000, echo(status, form))
			_, reading := f.Read(t.Context(), "there", 0, -1)
			for _, err := range []error{
				reading, store(t.Context(), f, "a", pattern(MinPartSize+1)), f.Delete(t.Context(), "there"),
				f.List(t.Context(), func(string, time.Time) error { return nil }), s.driver(cfg).Open(t.Context()),
			} {
				if err != nil && (strings.Contains(err.Error(), secretKey) || strings.Contains(err.Error(), cfg.SessionToken)) {
					t.Errorf("%d %s: %v", status, form, err)
				}
			}
			s.heal()
		}
	}
}
