package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/s3test"
)

func TestMain(m *testing.M) {
	minio.DefaultRetryUnit = time.Millisecond // it waits even after the only attempt
	goleak.VerifyTestMain(m)
}

const (
	bucket    = "contents"
	accessKey = "AKIATIDEGATE"
	secretKey = "very-secret-key-of-the-test"
)

// server is an S3 service in memory, with faults in front of it.
type server struct {
	t      *testing.T
	url    string
	bucket *s3test.Bucket
	real   http.Handler // bucket, unless a test replaces it
	clock  *clock

	mu     sync.Mutex
	faults []*fault        // guarded by mu
	seen   []*http.Request // guarded by mu
}

// fault replaces the response of the server.
type fault struct {
	kind  string // a result of kindOf, "" for any
	times int    // number of requests with the fault
	do    func(w http.ResponseWriter, r *http.Request, real http.Handler)
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, clock: &clock{now: time.Now()}}
	s.bucket = s3test.New(bucket, s.clock.Now)
	s.real = s.bucket
	listener := httptest.NewServer(s)
	s.url = listener.URL
	t.Cleanup(listener.Close)
	return s
}

// kindOf returns the kind of a request.
func kindOf(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case strings.HasSuffix(r.URL.Path, pingName):
		return "ping"
	case r.Method == http.MethodPut && q.Has("partNumber"):
		return "part"
	case r.Method == http.MethodPut:
		return "put"
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "begin"
	case r.Method == http.MethodPost:
		return "complete"
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return "abort"
	case r.Method == http.MethodDelete:
		return "delete"
	case r.Method == http.MethodHead:
		return "head"
	case q.Has("uploads"):
		return "uploads"
	case q.Has("list-type"):
		return "list"
	}
	return "get"
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := kindOf(r)
	s.mu.Lock()
	s.seen = append(s.seen, r)
	var happens *fault
	for _, f := range s.faults {
		if f.times > 0 && (f.kind == "" || f.kind == kind) {
			f.times--
			happens = f
			break
		}
	}
	s.mu.Unlock()
	if happens != nil {
		happens.do(w, r, s.real)
		return
	}
	s.real.ServeHTTP(w, r)
}

type faultFunc = func(w http.ResponseWriter, r *http.Request, real http.Handler)

// fail injects a fault into the next requests of a kind.
func (s *server) fail(kind string, times int, do faultFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault{kind, times, do})
}

// heal removes all faults.
func (s *server) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// requests returns the requests of a kind so far.
func (s *server) requests(kind string) []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*http.Request
	for _, r := range s.seen {
		if kindOf(r) == kind {
			found = append(found, r)
		}
	}
	return found
}

// refuse answers as S3 does.
func refuse(status int, code string) faultFunc {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w, status, code, "said by the test")
	}
}

func answer(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<?xml version=\"1.0\"?>\n<Error><Code>"+code+"</Code><Message>"+message+"</Message></Error>")
}

// hangUp cuts the connection without an answer.
func hangUp(w http.ResponseWriter, _ *http.Request, _ http.Handler) { panic(http.ErrAbortHandler) }

// hangUpAfter executes the request and cuts the connection before the response.
func hangUpAfter(_ http.ResponseWriter, r *http.Request, real http.Handler) {
	real.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// hangUpInside reads a third of the body and cuts the connection.
func hangUpInside(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/3)
	panic(http.ErrAbortHandler)
}

// corrupt flips a bit of the body.
func corrupt(w http.ResponseWriter, r *http.Request, real http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	body[len(body)/2] ^= 4
	r.Body = io.NopCloser(bytes.NewReader(body))
	real.ServeHTTP(w, r)
}

// swallow never answers.
func swallow(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// config returns the configuration of a driver for the server.
func (s *server) config() Config {
	return Config{
		Endpoint: s.url, Bucket: bucket, Prefix: "tide/gate", AccessKey: accessKey, SecretKey: secretKey,
		PartSize: MinPartSize, Timeout: 10 * time.Second, Attempts: 4,
	}
}

// open opens a driver, which does not wait between attempts.
func (s *server) open(cfg Config) *Files {
	s.t.Helper()
	f := s.driver(cfg)
	if err := f.Open(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := f.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return f
}

func (s *server) driver(cfg Config) *Files {
	f := New(cfg)
	f.now = s.clock.Now
	f.backoff = func(int) time.Duration { return time.Millisecond }
	return f
}

func (s *server) files() *Files {
	s.t.Helper()
	return s.open(s.config())
}

func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func store(ctx context.Context, f batch.Files, key string, content []byte) error {
	w, err := f.Create(ctx, key)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Commit(ctx)
}

func load(ctx context.Context, f batch.Files, key string, offset, length int64) ([]byte, error) {
	r, err := f.Read(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// holds checks that a key has a content.
func holds(t *testing.T, f batch.Files, key string, want []byte) {
	t.Helper()
	got, err := load(t.Context(), f, key, 0, -1)
	if err != nil {
		t.Errorf("reading %s: %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s came back as %d other bytes, want %d", key, len(got), len(want))
	}
}

// mustStore stores or ends the test.
func mustStore(t *testing.T, f batch.Files, key string, content []byte) {
	t.Helper()
	if err := store(t.Context(), f, key, content); err != nil {
		t.Fatal(err)
	}
}
