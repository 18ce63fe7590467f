package dashboard_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tidegate/tidegate/templates"
)

// wrapped is a writer that flushes through Unwrap only, as Caddy's writers do.
type wrapped struct{ inner http.ResponseWriter }

func (w wrapped) Header() http.Header         { return w.inner.Header() }
func (w wrapped) Write(b []byte) (int, error) { return w.inner.Write(b) }
func (w wrapped) WriteHeader(status int)      { w.inner.WriteHeader(status) }
func (w wrapped) Unwrap() http.ResponseWriter { return w.inner }

// decode reads a content in an encoding.
func decode(t *testing.T, encoding string, r io.Reader) io.Reader {
	t.Helper()
	switch encoding {
	case "gzip":
		d, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return d
	case "zstd":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		return d
	}
	return r
}

// TestCompressedStreams reads the first events of short and long streams: each
// arrives at once in every encoding, also through writers that hide Flush.
func TestCompressedStreams(t *testing.T) {
	h := build(t, nil, quick)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.dashboard.ServeHTTP(wrapped{w}, r)
	}))
	t.Cleanup(func() {
		h.dashboard.Close()
		server.Close()
	})
	for _, encoding := range []string{"", "gzip", "zstd"} {
		for path, event := range map[string]string{"/": "problems", "/batches": "list", "/upstreams": "upstreams"} {
			t.Run(encoding+path, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/dashboard/events"+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept-Encoding", encoding)
				client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if got := resp.Header.Get("Content-Encoding"); got != encoding {
					t.Fatalf("Content-Encoding is %q, want %q", got, encoding)
				}
				lines := bufio.NewScanner(decode(t, encoding, resp.Body))
				lines.Buffer(nil, 1<<20)
				for lines.Scan() {
					if lines.Text() == "event: "+event {
						return
					}
				}
				t.Fatalf("the stream ended before event %s: %v", event, lines.Err())
			})
		}
	}
}

// TestCompressedAnswers asks for pages and assets.
func TestCompressedAnswers(t *testing.T) {
	h := build(t, nil)
	css := "/assets/" + templates.Assets["app.css"].Hash + "/app.css"
	file := "/files/" + h.FileIDs()[0] + "/content"
	for name, tt := range map[string]struct{ path, accept, site, want string }{
		"page":               {"/", "gzip, deflate, br, zstd", "none", "zstd"},
		"page in gzip":       {"/", "gzip, deflate", "same-origin", "gzip"},
		"asset":              {css, "gzip", "same-origin", "gzip"},
		"not accepted":       {"/", "br", "none", ""},
		"refused":            {"/", "gzip;q=0", "none", ""},
		"from another site":  {"/batches?q=guess", "gzip", "cross-site", ""},
		"from a neighbour":   {"/batches?q=guess", "gzip", "same-site", ""},
		"download of a file": {file, "gzip", "same-origin", ""},
	} {
		t.Run(name, func(t *testing.T) {
			plain := h.get(tt.path).Body.String()
			r := httptest.NewRequest(http.MethodGet, "/dashboard"+tt.path, http.NoBody)
			r.Header.Set("Accept-Encoding", tt.accept)
			r.Header.Set("Sec-Fetch-Site", tt.site)
			w := h.do(r)
			if got := w.Header().Get("Content-Encoding"); w.Code != http.StatusOK || got != tt.want {
				t.Fatalf("status %d in encoding %q, want 200 in %q", w.Code, got, tt.want)
			}
			sent := w.Body.Len()
			content, err := io.ReadAll(decode(t, tt.want, w.Body))
			if err != nil {
				t.Fatal(err)
			}
			if string(content) != plain {
				t.Errorf("the content differs from the plain one: %d bytes, want %d", len(content), len(plain))
			}
			if tt.want != "" && (sent*2 > len(plain) || !strings.Contains(strings.Join(w.Header().Values("Vary"), ","), "Accept-Encoding")) {
				t.Errorf("%d bytes of %d were sent with Vary %q", sent, len(plain), w.Header().Values("Vary"))
			}
		})
	}
}
