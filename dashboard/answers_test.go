package dashboard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/internal/openai"
)

// TestFailures makes every source fail: each page has the status and a readable message, and
// shows no secret.
func TestFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		status int
		says   string
	}{
		"not found":  {batch.ErrNotFound, http.StatusNotFound, "Not found. It may have been deleted."},
		"cursor":     {batch.ErrBadCursor, http.StatusNotFound, "Not found. It may have been deleted."},
		"conflict":   {batch.ErrConflict, http.StatusConflict, "no longer allows this"},
		"store away": {batch.ErrUnavailable, http.StatusServiceUnavailable, "store does not answer"},
		"no space":   {batch.ErrNoSpace, http.StatusInsufficientStorage, "No disk space is left"},
		"too slow":   {context.DeadlineExceeded, http.StatusServiceUnavailable, "Timed out"},
		"of the API": {openai.InvalidRequest("x", "y", "Invalid <b>value</b>."), http.StatusBadRequest, "Invalid &lt;b&gt;value&lt;/b&gt;."},
		"other":      {errors.New("password=hunter2"), http.StatusInternalServerError, "Internal error."},
	} {
		h := build(t, nil)
		paths := h.pages()
		h.FailWith(fmt.Errorf("asking postgres://user:hunter2@db: %w", tt.err))
		for _, path := range paths {
			if path == "/new" {
				continue // it queries nothing
			}
			w := h.get(path)
			want := tt.status
			if path == "/" { // it says what is wrong
				want = http.StatusOK
			}
			body := w.Body.String()
			if w.Code != want && !strings.HasPrefix(path, "/upstreams") {
				t.Errorf("%s: %s: %d, want %d", name, path, w.Code, want)
			}
			if strings.Contains(body, "hunter2") {
				t.Errorf("%s: %s contains a secret", name, path)
			}
			if path != "/" && !strings.HasPrefix(path, "/upstreams") && !strings.Contains(body, tt.says) {
				t.Errorf("%s: %s does not contain %q", name, path, tt.says)
			}
			inspect(t, path, body)
		}
	}
}

func TestNowhere(t *testing.T) {
	h := build(t, nil)
	for path, want := range map[string]int{
		"/nowhere": http.StatusNotFound, "/batches/x/y/z": http.StatusNotFound, "/assets/0/app.css": http.StatusNotFound,
		"/batches/" + h.IDs()[1] + "/lines/0": http.StatusNotFound, "/batches/" + h.IDs()[1] + "/lines/x": http.StatusNotFound,
		"/batches/" + h.IDs()[1] + "/lines/999999": http.StatusNotFound, "/batches/" + h.IDs()[1] + "/lines?after=x": http.StatusBadRequest,
		"/batches?from=yesterday": http.StatusOK, "/batches?state=odd": http.StatusOK, "/batches?after=batch_nobody": http.StatusNotFound,
		"/batches/" + h.IDs()[1] + "/results/odd": http.StatusNotFound, "/throughput?span=1000y": http.StatusOK,
	} {
		if w := h.get(path); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	if w := h.do(httptest.NewRequest(http.MethodGet, "/dashboard", http.NoBody)); w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != "/dashboard/" {
		t.Errorf("without the slash: %d %s", w.Code, w.Header().Get("Location"))
	}
}

func TestConfig(t *testing.T) {
	good := build(t, nil).Source()
	for name, cfg := range map[string]dashboard.Config{
		"a part is missing": {Base: "/dashboard"},
		"no path":           {Base: "dashboard", Source: good},
		"a pattern":         {Base: "/{x}", Source: good},
		"no origin":         {Base: "/dashboard", Source: good, TrustedOrigins: []string{"ops.example.com/x"}},
	} {
		if d, err := dashboard.New(cfg); err == nil {
			d.Close()
			t.Errorf("%s: it was taken", name)
		}
	}
	// It may have a site for itself.
	h := build(t, nil, func(c *dashboard.Config) { c.Base = "" })
	if w := h.do(httptest.NewRequest(http.MethodGet, "/", http.NoBody)); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `href="/batches"`) {
		t.Errorf("at the root: %d", w.Code)
	}
}

func TestFilters(t *testing.T) {
	h := build(t, nil)
	for query, want := range map[string]int{
		"":                               50,
		"?state=active":                  8,
		"?state=failed":                  1,
		"?state=paused":                  1,
		"?q=NIGHTLY":                     1,
		"?q=legal":                       1, // in the metadata
		"?model=BAAI%2Fbge-m3":           1,
		"?from=2026-11-23&to=2026-11-23": 10,
		"?from=2026-11-22&to=2026-11-22": 7,
		"?from=2027-01-01":               0,
		"?state=active&q=hourly":         0,
	} {
		page := h.page("/batches" + query)
		if got := strings.Count(page, `id="b-batch_`); got != want {
			t.Errorf("%s: %d batches, want %d", query, got, want)
		}
	}
	// Pages lead through all of them, each once.
	seen := map[string]bool{}
	path := "/batches?q=.jsonl"
	for pages := 1; ; pages++ {
		page := h.page(path)
		for _, id := range h.IDs() {
			if strings.Contains(page, `id="b-`+id+`"`) {
				if seen[id] {
					t.Errorf("%s came twice", id)
				}
				seen[id] = true
			}
		}
		_, next, more := strings.Cut(page, `rel="next" href="/dashboard`)
		if !more {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
		path, _, _ = strings.Cut(next, `"`)
		path = strings.ReplaceAll(path, "&amp;", "&")
	}
	if len(seen) != len(h.IDs()) {
		t.Errorf("%d of %d batches were seen", len(seen), len(h.IDs()))
	}
	// Those of all lines lead back as well.
	lines := "/batches/" + h.IDs()[1] + "/lines"
	for at, back := range map[string]string{"?after=31000": "?after=30900", "?after=200": "?after=100", "?after=100": "", "": "", "?state=completed&after=200": ""} {
		_, found, there := strings.Cut(h.page(lines+at), `rel="prev" href="/dashboard`)
		found, _, _ = strings.Cut(found, `"`)
		if there != (back != "") || there && found != lines+back {
			t.Errorf("before %s comes %q, want %q", at, found, back)
		}
	}
}

// slowly is a form that is sent in pieces.
func slowly(t *testing.T) (r *http.Request, form *multipart.Writer, end func(error)) {
	t.Helper()
	in, out := io.Pipe()
	form = multipart.NewWriter(out)
	r = httptest.NewRequest(http.MethodPost, "/dashboard/new/upload", in)
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r, form, func(err error) { out.CloseWithError(err) }
}

// hungry are files that signal when they receive data.
type hungry struct {
	dashboard.Files
	got chan string
}

func (f hungry) Upload(_ context.Context, _ string, content io.Reader, _ func(engine.Seen)) (string, error) {
	b := make([]byte, 5)
	for {
		n, err := io.ReadFull(content, b)
		f.got <- string(b[:n])
		if errors.Is(err, io.EOF) || err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 && n < 5 {
				return "file-1", nil
			}
			return "", err
		}
	}
}

// A file is handed on while it arrives.
func TestUploadStreams(t *testing.T) {
	got := make(chan string)
	h := build(t, nil, func(c *dashboard.Config) { c.Source.Files = hungry{c.Source.Files, got}; c.Timeout = time.Nanosecond })
	r, form, end := slowly(t)
	answered := make(chan *httptest.ResponseRecorder)
	go func() { answered <- h.do(r) }()
	file, err := form.CreateFormFile("file", `C:\fakepath\a.jsonl`)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		if _, err := io.WriteString(file, s+strings.Repeat(" ", 5-len(s)%5)); err != nil {
			t.Error(err)
		}
	}
	go write("first")
	if first := <-got; first != "first" {
		t.Fatalf("it got %q", first)
	}
	end(io.ErrUnexpectedEOF) // the browser is gone
	for {
		select {
		case <-got:
		case w := <-answered:
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "interrupted") {
				t.Errorf("got %d %s, want 400 with \"interrupted\"", w.Code, w.Body)
			}
			return
		}
	}
}

func upload(t *testing.T, field, name, content string, script bool) *http.Request {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := form.WriteField("note", "passed over"); err != nil {
		t.Fatal(err)
	}
	file, err := form.CreateFormFile(field, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(file, content); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/dashboard/new/upload", &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if script {
		r.Header.Set("Tidegate-Upload", "script")
	}
	return r
}

func TestUpload(t *testing.T) {
	h := build(t, nil)
	good := "{\"custom_id\":\"a\"}\n{\"custom_id\":\"b\"}\n"
	for name, tt := range map[string]struct {
		r      *http.Request
		status int
	}{
		"from a form":     {upload(t, "file", "a.jsonl", good, false), http.StatusSeeOther},
		"from the script": {upload(t, "file", "a.jsonl", good, true), http.StatusOK},
		"no file":         {upload(t, "other", "a.jsonl", good, false), http.StatusBadRequest},
		"no name":         {upload(t, "file", "", good, false), http.StatusBadRequest},
		"no form":         {httptest.NewRequest(http.MethodPost, "/dashboard/new/upload", strings.NewReader("x")), http.StatusBadRequest},
	} {
		w := h.do(tt.r)
		if w.Code != tt.status {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	w := h.do(upload(t, "file", "../../a.jsonl", good+"{}\n", false))
	page := h.page(strings.TrimPrefix(w.Header().Get("Location"), "/dashboard"))
	for _, want := range []string{"What is in a.jsonl", "Line 3 has no custom_id: {}", "<button class=\"main\" disabled>Create the batch", "1 h 20 min – 2 h"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not to be seen", want)
		}
	}
	small := build(t, nil, func(c *dashboard.Config) { c.Source.Files = smallFiles{c.Source.Files} })
	if w := small.do(upload(t, "file", "a.jsonl", strings.Repeat("x", 2<<20), false)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d", w.Code)
	}
}

// smallFiles accepts no data.
type smallFiles struct{ dashboard.Files }

func (smallFiles) MaxBytes() int64 { return 0 }

// brokenFiles have contents that end too early.
type brokenFiles struct{ dashboard.Files }

func (brokenFiles) Content(context.Context, string) (dashboard.Download, error) {
	return dashboard.Download{ReadCloser: io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{})), Filename: "a", Bytes: -1}, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk is gone") }

func TestDownloads(t *testing.T) {
	name := "a\"b\r\nSet-Cookie: x=y; \u202e/../ü.jsonl"
	h := build(t, func(string) string { return name })
	for _, path := range []string{"/files/" + h.FileIDs()[0] + "/content", "/batches/" + h.IDs()[9] + "/results/output", "/batches/" + h.IDs()[9] + "/results/errors"} {
		w := h.get(path)
		kind, params, err := mime.ParseMediaType(w.Header().Get("Content-Disposition"))
		if w.Code != http.StatusOK || err != nil || kind != "attachment" || w.Header().Get("Content-Type") != "application/octet-stream" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v %v", path, w.Code, w.Header(), err)
		}
		if !strings.HasPrefix(params["filename"], name) {
			t.Errorf("%s is called %q", path, params["filename"])
		}
		if len(w.Result().Cookies()) > 0 || w.Body.Len() == 0 {
			t.Errorf("%s: %v", path, w.Header())
		}
	}
	broken := build(t, nil, func(c *dashboard.Config) { c.Source.Files = brokenFiles{c.Source.Files} })
	func() {
		defer func() {
			if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
				t.Errorf("a download that broke off ended with %v: the reader takes it for whole", err)
			}
		}()
		broken.get("/files/x/content")
	}()
}

func TestAssetsAreKept(t *testing.T) {
	h := build(t, nil)
	page := h.page("/")
	_, after, _ := strings.Cut(page, `href="/dashboard/assets/`)
	for range 2 { // the icon and the style
		path, rest, _ := strings.Cut(after, `"`)
		w := h.get("/assets/" + path)
		if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Body.Len() == 0 {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		_, after, _ = strings.Cut(rest, `href="/dashboard/assets/`)
	}
}

// thorough files and batches take until their contents are read.
type (
	thoroughFiles   struct{ dashboard.Files }
	thoroughBatches struct{ dashboard.Batches }
)

// read reads for much longer than the patience with pages, or until its context ends.
func read(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		<-ctx.Done()
		return fmt.Errorf("reading until %v: %w", deadline, ctx.Err())
	}
	return nil
}

func (f thoroughFiles) Inspect(ctx context.Context, id string) (dashboard.Inspection, error) {
	if err := read(ctx); err != nil {
		return dashboard.Inspection{}, err
	}
	return f.Files.Inspect(ctx, id)
}

func (b thoroughBatches) RetryFailed(ctx context.Context, id string) (string, error) {
	if err := read(ctx); err != nil {
		return "", err
	}
	return b.Batches.RetryFailed(ctx, id)
}

// TestLargeFilesAreRead checks that files of any size are inspected, and that failed lines of
// any size are copied.
func TestLargeFilesAreRead(t *testing.T) {
	h := build(t, nil, func(c *dashboard.Config) {
		c.Timeout = time.Millisecond
		c.Source.Files, c.Source.Batches = thoroughFiles{c.Source.Files}, thoroughBatches{c.Source.Batches}
	})
	h.page("/new?file=" + h.FileIDs()[0])
	if w := h.post("/batches/" + h.IDs()[9] + "/retry"); w.Code != http.StatusSeeOther {
		t.Errorf("a retry: %d", w.Code)
	}
}

// TestHeads checks that HEAD requests are answered at once: no file is read, and they do not
// count as followers.
func TestHeads(t *testing.T) {
	h := build(t, nil, func(c *dashboard.Config) { c.Source.Files = brokenFiles{c.Source.Files} })
	for path, kind := range map[string]string{"/files/x/content": "application/octet-stream", "/events/": "text/event-stream"} {
		w := h.do(httptest.NewRequest(http.MethodHead, "/dashboard"+path, http.NoBody).WithContext(t.Context()))
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != kind || w.Body.Len() > 0 {
			t.Errorf("%s: %d %v %q", path, w.Code, w.Header(), w.Body)
		}
	}
}
