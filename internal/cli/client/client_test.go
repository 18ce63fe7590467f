package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script answers the first request with its first entry, and so on. A request
// too many is answered with 418, and fails the test.
type script struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // guarded by mu; method and URL
}

func serve(t *testing.T, answers ...http.HandlerFunc) (*script, *Client) {
	t.Helper()
	s := &script{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := len(s.seen)
		s.seen = append(s.seen, r.Method+" "+r.RequestURI)
		s.mu.Unlock()
		if n >= len(answers) {
			t.Errorf("request %d, %s %s, is one too many", n+1, r.Method, r.RequestURI)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		answers[n](w, r)
	}))
	t.Cleanup(s.Close)
	return s, &Client{Server: s.URL, Pause: time.Millisecond}
}

func (s *script) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// want fails unless all responses of the script were used.
func (s *script) want(t *testing.T, n int) {
	t.Helper()
	if seen := s.requests(); len(seen) != n {
		t.Errorf("%d requests, want %d: %v", len(seen), n, seen)
	}
}

func says(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// breaks takes the request and breaks the connection.
func breaks(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

const (
	aBatch = `{"id":"batch_1","object":"batch","status":"in_progress"}`
	aFile  = `{"id":"file-1","object":"file","bytes":3}`
)

func TestErrors(t *testing.T) {
	tests := map[string]struct {
		status int
		header http.Header
		body   string
		want   Error
		text   string
	}{
		"envelope": {
			status: 400, body: `{"error":{"message":"No.","type":"invalid_request_error","param":"limit","code":"invalid_value"}}`,
			want: Error{Status: 400, Message: "No.", Param: "limit", Code: "invalid_value"}, text: "No. (400, limit)",
		},
		"envelope with nulls": {
			status: 404, body: `{"error":{"message":"No such File object: x","param":null,"code":null}}`,
			want: Error{Status: 404, Message: "No such File object: x"}, text: "No such File object: x (404)",
		},
		"page": {
			status: 403, body: "<html>\n <body>\x1b[31mforbidden</body>\r\n</html>",
			want: Error{Status: 403, Message: "403 Forbidden: <html> <body>\uFFFD[31mforbidden</body> </html>"},
			text: "403 Forbidden: <html> <body>\uFFFD[31mforbidden</body> </html> (403)",
		},
		"envelope that would paint the terminal": {
			status: 400, body: `{"error":{"message":"a\u001b]0;x\u0007b\nc"}}`,
			want: Error{Status: 400, Message: "a\uFFFD]0;x\uFFFDb c"}, text: "a\uFFFD]0;x\uFFFDb c (400)",
		},
		"nothing":     {status: 405, want: Error{Status: 405, Message: "405 Method Not Allowed"}, text: "405 Method Not Allowed (405)"},
		"other JSON":  {status: 400, body: `{"detail":"x"}`, want: Error{Status: 400, Message: `400 Bad Request: {"detail":"x"}`}, text: `400 Bad Request: {"detail":"x"} (400)`},
		"long page":   {status: 400, body: strings.Repeat("x", 5000), want: Error{Status: 400, Message: "400 Bad Request: " + strings.Repeat("x", 200)}, text: "400 Bad Request: " + strings.Repeat("x", 200) + " (400)"},
		"redirection": {status: 301, header: http.Header{"Location": {"https://example.org/v1"}}, want: Error{Status: 301, Message: "this is not where the gateway is: it redirects to https://example.org/v1"}, text: "this is not where the gateway is: it redirects to https://example.org/v1 (301)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				maps.Copy(w.Header(), tt.header)
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			_, err := c.Batch(t.Context(), "batch_1")
			got, ok := errors.AsType[*Error](err)
			if !ok || *got != tt.want || err.Error() != tt.text {
				t.Errorf("got %#v (%v)\nwant %#v (%s)", err, err, tt.want, tt.text)
			}
			if MayPass(err) {
				t.Error("error does not say that it is temporary")
			}
			s.want(t, 1)
		})
	}
}

func TestUploadIsNoListingAfterARedirection(t *testing.T) {
	// net/http makes a GET of a POST that is redirected.
	s, c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	_, err := c.Create(t.Context(), CreateBatch{})
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != http.StatusFound {
		t.Errorf("got %v", err)
	}
	s.want(t, 1)
}

func TestNoGateway(t *testing.T) {
	for name, body := range map[string]string{
		"page":         "<html>hello</html>",
		"cut JSON":     `{"id":"batch_1","object":"ba`,
		"other object": `{"id":"x","object":"list","data":[]}`,
		"no object":    `{}`,
		"nothing":      "",
		"wrong type":   `{"id":7,"object":"batch"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, says(200, body))
			_, err := c.Batch(t.Context(), "batch_1")
			if err == nil || !strings.Contains(err.Error(), "what answered GET /v1/batches/batch_1 is no gateway") || !strings.Contains(err.Error(), "--server") {
				t.Errorf("got %v", err)
			}
			s.want(t, 1)
		})
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := "http://" + ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	c := &Client{Server: server, Pause: time.Hour} // a retry would show
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for name, try := range map[string]func() error{
		"request":  func() error { _, err := c.Batch(ctx, "batch_1"); return err },
		"download": func() error { _, err := c.Download(ctx, "file-1", io.Discard); return err },
		"upload": func() error {
			_, err := c.Upload(ctx, Content{At: strings.NewReader("x"), Size: 1})
			return err
		},
		"stream": func() error { _, err := c.Upload(ctx, Content{Stream: strings.NewReader("x")}); return err },
	} {
		err := try()
		if _, ok := errors.AsType[*UnreachableError](err); !ok || !strings.Contains(err.Error(), "no server listens at "+server) {
			t.Errorf("%s: got %v", name, err)
		}
		if !MayPass(err) {
			t.Errorf("%s: a gateway may be started", name)
		}
	}
}

func TestTLSMistakesAreNotRetried(t *testing.T) {
	plain, c := serve(t)
	c.Pause = time.Hour
	c.Server = strings.Replace(plain.URL, "http:", "https:", 1)
	if _, err := c.Batch(t.Context(), "batch_1"); err == nil || !strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		t.Errorf("got %v", err)
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	secure.StartTLS()
	defer secure.Close()
	c.Server = secure.URL
	if _, err := c.Batch(t.Context(), "batch_1"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

func TestHeaders(t *testing.T) {
	for key, want := range map[string]string{"sk-1": "Bearer sk-1", "": ""} {
		_, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != want {
				t.Errorf("authorization %q, want %q", got, want)
			}
			says(200, aBatch)(w, r)
		})
		c.APIKey = key
		if _, err := c.Batch(t.Context(), "batch_1"); err != nil {
			t.Error(err)
		}
	}
}

func TestIDsAreEscaped(t *testing.T) {
	const id, escaped = "a/../b?c=d#e f%2F", "a%2F..%2Fb%3Fc=d%23e%20f%252F"
	s, c := serve(t, says(200, aBatch), says(200, aBatch), says(200, `{"object":"batch"}`), says(200, `{"object":"file"}`), says(200, "x"))
	_, err1 := c.Batch(t.Context(), id)
	_, err2 := c.Cancel(t.Context(), id)
	_, err3 := c.DeleteBatch(t.Context(), id, true)
	_, err4 := c.DeleteFile(t.Context(), id)
	_, err5 := c.Download(t.Context(), id, io.Discard)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Error(err)
	}
	want := []string{
		"GET /v1/batches/" + escaped, "POST /v1/batches/" + escaped + "/cancel", "DELETE /v1/batches/" + escaped + "?cancel=false&input=true",
		"DELETE /v1/files/" + escaped, "GET /v1/files/" + escaped + "/content",
	}
	if got := s.requests(); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestCreateIsRepeatedWithItsKey(t *testing.T) {
	var keys []string
	note := func(then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			keys = append(keys, r.Header.Get("Idempotency-Key"))
			body, err := io.ReadAll(r.Body)
			const want = `{"input_file_id":"file-1","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"a":"b"}}`
			if err != nil || string(body) != want {
				t.Errorf("body %s, %v; want %s", body, err, want)
			}
			then(w, r)
		}
	}
	_, c := serve(t, note(breaks), note(says(503, "")), note(says(200, aBatch)), note(says(200, aBatch)))
	create := func() {
		b, err := c.Create(t.Context(), CreateBatch{InputFileID: "file-1", Endpoint: "/v1/embeddings", CompletionWindow: "24h", Metadata: map[string]string{"a": "b"}})
		if err != nil || b.ID != "batch_1" {
			t.Errorf("%+v, %v", b, err)
		}
	}
	create()
	create()
	if len(keys) != 4 || keys[0] == "" || keys[1] != keys[0] || keys[2] != keys[0] || keys[3] == keys[0] {
		t.Errorf("keys %q: want three the same, and another", keys)
	}
}

func TestDeleted(t *testing.T) {
	gone := says(404, `{"error":{"message":"No such File object: file-1"}}`)
	tests := map[string]struct {
		answers []http.HandlerFunc
		ok      bool
	}{
		"at once":                  {[]http.HandlerFunc{says(200, `{"id":"file-1","object":"file","deleted":true}`)}, true},
		"never there":              {[]http.HandlerFunc{gone}, false},
		"answer lost":              {[]http.HandlerFunc{breaks, gone}, true},
		"lost twice":               {[]http.HandlerFunc{breaks, breaks, gone}, true},
		"answer lost by a proxy":   {[]http.HandlerFunc{says(502, ""), gone}, true},
		"lost, then not ready":     {[]http.HandlerFunc{breaks, says(503, ""), gone}, true},
		"not ready, then no":       {[]http.HandlerFunc{says(503, ""), gone}, false},
		"too many requests, no":    {[]http.HandlerFunc{says(429, ""), gone}, false},
		"lost, then not permitted": {[]http.HandlerFunc{breaks, says(403, "")}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, tt.answers...)
			got, err := c.DeleteFile(t.Context(), "file-1")
			if (err == nil) != tt.ok {
				t.Fatalf("got %v", err)
			}
			if want := (openai.Deleted{ID: "file-1", Object: "file", Deleted: true}); tt.ok && got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			s.want(t, len(tt.answers))
		})
	}
}

func TestPages(t *testing.T) {
	page := func(from, n int, more bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var items []string
			for i := range n {
				items = append(items, fmt.Sprintf(`{"id":"file-%d","object":"file"}`, from+i))
			}
			says(200, fmt.Sprintf(`{"object":"list","data":[%s],"has_more":%t}`, strings.Join(items, ","), more))(w, r)
		}
	}
	tests := map[string]struct {
		answers []http.HandlerFunc
		stop    int // after so many; 0: never
		seen    int
		err     string
	}{
		"nothing":               {answers: []http.HandlerFunc{page(0, 0, false)}},
		"to the end":            {answers: []http.HandlerFunc{page(0, 3, true), page(3, 3, true), page(6, 1, false)}, seen: 7},
		"stopped on a page":     {answers: []http.HandlerFunc{page(0, 3, true), page(3, 3, true)}, stop: 4, seen: 4},
		"stopped at its end":    {answers: []http.HandlerFunc{page(0, 3, true)}, stop: 3, seen: 3},
		"empty with more":       {answers: []http.HandlerFunc{page(0, 2, true), page(2, 0, true)}, seen: 2},
		"the same page for all": {answers: []http.HandlerFunc{page(0, 2, true), page(0, 2, true)}, seen: 4, err: "does not end"},
		"broken on the way":     {answers: []http.HandlerFunc{page(0, 2, true), says(403, "")}, seen: 2, err: "403"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, tt.answers...)
			seen := 0
			err := c.Files(t.Context(), "", func(f openai.File) bool {
				if tt.err == "" && f.ID != fmt.Sprintf("file-%d", seen) {
					t.Errorf("%s is number %d", f.ID, seen)
				}
				seen++
				return seen != tt.stop
			})
			if seen != tt.seen || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%d seen, %v; want %d, %q", seen, err, tt.seen, tt.err)
			}
			s.want(t, len(tt.answers))
		})
	}
	s, c := serve(t, page(0, 2, true), page(2, 1, false))
	if err := c.Files(t.Context(), "user_data", func(openai.File) bool { return true }); err != nil {
		t.Error(err)
	}
	if got, want := s.requests(), []string{"GET /v1/files?limit=1000&purpose=user_data", "GET /v1/files?limit=1000&purpose=user_data&after=file-1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s, c = serve(t, says(200, `{"object":"list","data":[{"id":"batch_&","object":"batch"}],"has_more":true}`), says(200, `{"object":"list","data":[],"has_more":false}`))
	if err := c.Batches(t.Context(), func(openai.Batch) bool { return true }); err != nil {
		t.Error(err)
	}
	if got, want := s.requests(), []string{"GET /v1/batches?limit=100", "GET /v1/batches?limit=100&after=batch_%26"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReady(t *testing.T) {
	s, c := serve(t, says(503, ""), breaks, says(200, "ok"))
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	s.want(t, 3)
	_, c = serve(t, says(404, ""))
	if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, c = serve(t, func(w http.ResponseWriter, r *http.Request) { cancel(); says(503, "")(w, r) })
	c.Pause = time.Hour
	if err := c.Ready(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := (&Client{Server: "http://[::1"}).Ready(t.Context()); err == nil {
		t.Error("no URL")
	}
}

func TestURLThatIsNone(t *testing.T) {
	c := &Client{Server: "http://[::1", Pause: time.Hour}
	_, err1 := c.Batch(t.Context(), "x")
	_, err2 := c.Download(t.Context(), "x", io.Discard)
	_, err3 := c.Upload(t.Context(), Content{At: strings.NewReader(""), Size: 0})
	for _, err := range []error{err1, err2, err3} {
		if err == nil || !strings.Contains(err.Error(), "making request") || MayPass(err) {
			t.Errorf("got %v", err)
		}
	}
}
