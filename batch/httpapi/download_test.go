package httpapi_test

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestDownload(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	content := strings.Repeat(line, 10_000)
	f := a.upload("batch", "in.jsonl", content)
	path := "/v1/files/" + f.ID + "/content"
	whole := a.request("GET", path, "")
	etag := whole.Header.Get("ETag")
	last := whole.Header.Get("Last-Modified")
	n := len(content)
	for _, c := range []struct {
		name    string
		headers []string
		status  int
		want    string
	}{
		{"whole", nil, 200, content},
		{"first bytes", []string{"Range", "bytes=0-99"}, 206, content[:100]},
		{"from the middle", []string{"Range", "bytes=1000-"}, 206, content[1000:]},
		{"last bytes", []string{"Range", "bytes=-5"}, 206, content[n-5:]},
		{"longer than it is", []string{"Range", "bytes=839990-9999999"}, 206, content[839990:]},
		{"other unit", []string{"Range", "lines=0-1"}, 416, ""},
		{"behind the end", []string{"Range", "bytes=840000-"}, 416, ""},
		{"backwards", []string{"Range", "bytes=5-1"}, 416, ""},
		{"same content", []string{"Range", "bytes=0-9", "If-Range", etag}, 206, content[:10]},
		{"other content", []string{"Range", "bytes=0-9", "If-Range", `"other"`}, 200, content},
		{"same time", []string{"Range", "bytes=0-9", "If-Range", last}, 206, content[:10]},
		{"known", []string{"If-None-Match", etag}, 304, ""},
		{"unknown", []string{"If-None-Match", `"other"`}, 200, content},
		{"must match and does not", []string{"If-Match", `"other"`}, 412, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := a.request("GET", path, "", c.headers...)
			if r.StatusCode != c.status {
				t.Fatalf("status %d: %.200s", r.StatusCode, r.body)
			}
			if c.status < 400 && string(r.body) != c.want {
				t.Errorf("got %d bytes, want %d", len(r.body), len(c.want))
			}
			if c.status < 300 && r.ContentLength != int64(len(c.want)) {
				t.Errorf("Content-Length is %d", r.ContentLength)
			}
		})
	}
	for name, want := range map[string]string{
		"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff",
		"Content-Disposition": `attachment; filename="in.jsonl"`,
	} {
		if got := whole.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(etag) != 66 || etag[0] != '"' {
		t.Errorf("ETag is %s", etag)
	}
	beyond := a.request("GET", path, "", "Range", "bytes=840000-")
	if got := beyond.Header.Get("Content-Range"); got != "bytes */840000" {
		t.Errorf("Content-Range of a 416 is %q", got)
	}
}

func TestRangesAtOnce(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	f := a.upload("user_data", "a.txt", "0123456789")
	r := a.request("GET", "/v1/files/"+f.ID+"/content", "", "Range", "bytes=0-1,8-9")
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || r.StatusCode != 206 || media != "multipart/byteranges" || !strings.Contains(string(r.body), "\r\n\r\n89\r\n") {
		t.Errorf("status %d, %s: %s", r.StatusCode, media, r.body)
	}
}

func TestDownloadOfEmptyFile(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	f := a.upload("user_data", "a.txt", "")
	r := a.request("GET", "/v1/files/"+f.ID+"/content", "")
	if r.StatusCode != 200 || len(r.body) > 0 || r.ContentLength != 0 {
		t.Errorf("status %d, %q", r.StatusCode, r.body)
	}
}

// TestHostileFilenames checks that a name cannot leave its place in a header.
func TestHostileFilenames(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	for _, c := range []struct{ sent, name, disposition string }{
		{"plain.jsonl", "plain.jsonl", `attachment; filename="plain.jsonl"`},
		{"with space.jsonl", "with space.jsonl", `attachment; filename="with space.jsonl"`},
		{"../../etc/passwd", "passwd", `attachment; filename="passwd"`},
		{"/abs/olute.jsonl", "olute.jsonl", `attachment; filename="olute.jsonl"`},
		{`C:\Users\x\in.jsonl`, "in.jsonl", `attachment; filename="in.jsonl"`},
		{"dir/", "dir", `attachment; filename="dir"`},
		{`a"; filename="b.exe`, `a"; filename="b.exe`, `attachment; filename="a_; filename=_b.exe"; filename*=UTF-8''a%22%3B%20filename%3D%22b.exe`},
		{"größe 😀.jsonl", "größe 😀.jsonl", `attachment; filename="gr__e _.jsonl"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%F0%9F%98%80.jsonl`},
		{"100%.jsonl", "100%.jsonl", `attachment; filename="100_.jsonl"; filename*=UTF-8''100%25.jsonl`},
		{"a+b=c@d:e$f&g'.txt", "a+b=c@d:e$f&g'.txt", `attachment; filename="a+b=c@d:e$f&g'.txt"`},
		{"evil\u202etxt.exe", "eviltxt.exe", `attachment; filename="eviltxt.exe"`},
		{"\xff\xfe.jsonl", "\uFFFD.jsonl", `attachment; filename="_.jsonl"; filename*=UTF-8''%EF%BF%BD.jsonl`},
		{".jsonl", ".jsonl", `attachment; filename=".jsonl"`},
		{"<script>.html", "<script>.html", `attachment; filename="<script>.html"`},
	} {
		t.Run(c.sent, func(t *testing.T) {
			f := a.upload("user_data", c.sent, "x")
			if f.Filename != c.name {
				t.Errorf("name is %q, want %q", f.Filename, c.name)
			}
			r := a.request("GET", "/v1/files/"+f.ID+"/content", "")
			if got := r.Header.Get("Content-Disposition"); got != c.disposition {
				t.Errorf("got  %s\nwant %s", got, c.disposition)
			}
			if _, params, err := mime.ParseMediaType(c.disposition); err != nil || params["filename"] == "" {
				t.Errorf("%s: %v", c.disposition, err)
			}
		})
	}
}

func TestLostContent(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	f := a.upload("batch", "in.jsonl", line)
	if err := os.Remove(a.contents()[0]); err != nil {
		t.Fatal(err)
	}
	refused{500, "", "", "The server had an error"}.check(t, a.request("GET", "/v1/files/"+f.ID+"/content", ""))
}

// TestDownloadBreaksOff checks that a client never takes a part for the whole.
func TestDownloadBreaksOff(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	f := a.upload("user_data", "a.txt", strings.Repeat("x", 1<<20))
	if err := os.Truncate(a.contents()[0], 1000); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", a.server.URL+"/v1/files/"+f.ID+"/content", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := a.server.Client().Do(r)
	if err != nil {
		return // broken before the headers
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("got %d bytes as if they were all", len(body))
	}
}

// TestBrokenDownloadIsAborted checks the same for protocols that do not detect missing
// bytes.
func TestBrokenDownloadIsAborted(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	f := a.upload("user_data", "a.txt", "content")
	if err := os.Truncate(a.contents()[0], 3); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if got, _ := recover().(error); !errors.Is(got, http.ErrAbortHandler) {
			t.Errorf("got %v, want http.ErrAbortHandler", got)
		}
	}()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/files/"+f.ID+"/content", nil)
	a.server.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
}

func TestDownloadOfWhatWasCompressed(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	for sent, want := range map[string]string{
		"in.jsonl.gz": "in.jsonl", "in.gz": "in.jsonl", "in.txt.gz": "in.txt",
	} {
		f := a.upload("batch", sent, string(gzipped(t, line)))
		r := a.request("GET", "/v1/files/"+f.ID+"/content", "")
		if got := r.Header.Get("Content-Disposition"); got != `attachment; filename="`+want+`"` || string(r.body) != line {
			t.Errorf("%s: %s, %q", sent, got, r.body)
		}
		if f.Filename != sent {
			t.Errorf("%s is called %s", sent, f.Filename)
		}
	}
	raw := a.upload("user_data", "a.gz", string(gzipped(t, line)))
	if r := a.request("GET", "/v1/files/"+raw.ID+"/content", ""); string(r.body) != string(gzipped(t, line)) {
		t.Error("a file that is no batch's was decompressed")
	}
	if raw.Compression != (*openai.Compression)(nil) {
		t.Errorf("got %+v", raw.Compression)
	}
}
