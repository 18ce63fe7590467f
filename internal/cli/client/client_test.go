package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// serve gives a client of a server that misbehaves.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &Client{Server: srv.URL, APIKey: "key", HTTP: srv.Client(), Pause: time.Millisecond}
}

func refuse(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestRetries(t *testing.T) {
	for name, tt := range map[string]struct {
		status   int // of the first answers
		times    int // how many
		attempts int
		ok       bool
	}{
		"busy for a while":      {503, 2, 3, true},
		"too many requests":     {429, 1, 2, true},
		"never":                 {500, 100, retries + 1, false},
		"a mistake is final":    {400, 1, 1, false},
		"not there":             {404, 1, 1, false},
		"no space is final":     {507, 1, 1, false},
		"forbidden is final":    {401, 1, 1, false},
		"answered at the first": {0, 0, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer key" {
					t.Error("no key")
				}
				if int(n.Add(1)) <= tt.times {
					refuse(w, tt.status, `{"error":{"message":"no","param":"p","code":"c"}}`)
					return
				}
				_, _ = io.WriteString(w, `{"id":"batch_1"}`)
			})
			b, err := c.Batch(t.Context(), "batch_1")
			if tt.ok != (err == nil) || tt.ok && b.ID != "batch_1" || int(n.Load()) != tt.attempts {
				t.Fatalf("%+v, %v after %d attempts, want %d", b, err, n.Load(), tt.attempts)
			}
			if e, ok := errors.AsType[*Error](err); !tt.ok && (!ok || e.Status != tt.status || e.Message != "no" || e.Param != "p" || e.Code != "c") {
				t.Errorf("error %+v", err)
			}
		})
	}
}

// A server that says when it wants to be asked again is not asked sooner.
func TestRetryAfter(t *testing.T) {
	var n atomic.Int64
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.Header().Set("Retry-After", "3600")
		refuse(w, 503, "")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Batch(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) || n.Load() != 1 {
		t.Errorf("%v after %d attempts", err, n.Load())
	}
}

// Whatever stands there instead of a gateway, the error says what it said.
func TestStrangeAnswers(t *testing.T) {
	for body, want := range map[string]string{
		"<html>nginx</html>":      "<html>nginx</html>",
		"":                        "404 Not Found",
		`{"detail":"x"}`:          `{"detail":"x"}`,
		strings.Repeat("a", 5000): "404 Not Found: aaa",
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, body) })
		_, err := c.Batch(t.Context(), "x")
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("%.20q: %v", body, err)
		}
	}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	if _, err := c.Batch(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "did not answer as a gateway") {
		t.Errorf("HTML with 200: %v", err)
	}
	if _, err := (&Client{Server: "http://127.0.0.1:1", Pause: time.Millisecond}).Batch(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "nobody listens at http://127.0.0.1:1") {
		t.Errorf("nobody there: %v", err)
	}
}

// Ids go into paths as they are, whatever is in them.
func TestPaths(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/v1/batches/..%2F..%2Fx%3Fy" || r.URL.RawQuery != "" {
			t.Errorf("asked for %s", r.URL)
		}
		_, _ = io.WriteString(w, "{}")
	})
	if _, err := c.Batch(t.Context(), "../../x?y"); err != nil {
		t.Error(err)
	}
}

func TestPages(t *testing.T) {
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("after"))
		switch r.URL.Query().Get("after") {
		case "":
			_, _ = io.WriteString(w, `{"data":[{"id":"1"},{"id":"2"}],"has_more":true}`)
		case "2":
			_, _ = io.WriteString(w, `{"data":[{"id":"3&"}],"has_more":true}`)
		default:
			_, _ = io.WriteString(w, `{"data":[],"has_more":true}`)
		}
	})
	var got []string
	if err := c.Files(t.Context(), func(f openai.File) bool { got = append(got, f.ID); return true }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "[1 2 3&]" || fmt.Sprintf("%q", asked) != `["" "2" "3&"]` {
		t.Errorf("got %v, asked after %q", got, asked)
	}
	asked, got = nil, nil
	if err := c.Batches(t.Context(), func(b openai.Batch) bool { got = append(got, b.ID); return false }); err != nil || len(got) != 1 || len(asked) != 1 {
		t.Errorf("stopped: got %v, asked %v, %v", got, asked, err)
	}
}

// However often it has to be said, it is one batch.
func TestCreateIsIdempotent(t *testing.T) {
	keys := make(map[string]int)
	bodies := make(map[string]int)
	n := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		keys[r.Header.Get("Idempotency-Key")]++
		bodies[string(body)]++
		if n++; n < 3 {
			panic(http.ErrAbortHandler) // it may have been made
		}
		_, _ = io.WriteString(w, `{"id":"batch_1"}`)
	})
	b, err := c.Create(t.Context(), CreateBatch{InputFileID: "file-1", Endpoint: "/v1/embeddings", CompletionWindow: "24h"})
	if err != nil || b.ID != "batch_1" || n != 3 || len(keys) != 1 || len(bodies) != 1 || keys[""] != 0 {
		t.Errorf("%+v, %v: %d attempts with %v, %v", b, err, n, keys, bodies)
	}
}

func TestUpload(t *testing.T) {
	content := strings.Repeat("content ", 10_000)
	for name, size := range map[string]int64{"of known length": int64(len(content)), "of unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			const odd = "a \"b\" \\ \r\nü.jsonl"
			var length int64
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				length = r.ContentLength
				f, head, err := r.FormFile("file")
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(f)
				if err != nil || string(text) != content || r.FormValue("purpose") != "batch" || head.Filename != "a \"b\" \\ ü.jsonl" {
					t.Errorf("%d bytes of %q for %s, %v", len(text), head.Filename, r.FormValue("purpose"), err)
				}
				_, _ = io.WriteString(w, `{"id":"file-1"}`)
			})
			var told int64
			f, err := c.Upload(t.Context(), odd, "batch", strings.NewReader(content), size, func(n int64) { told = n })
			if err != nil || f.ID != "file-1" || told != int64(len(content)) {
				t.Errorf("%+v, %v, told of %d", f, err, told)
			}
			if (size < 0) != (length < 0) || size > 0 && length <= size {
				t.Errorf("Content-Length %d", length)
			}
		})
	}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 413, `{"error":{"message":"too large","param":"file"}}`)
	})
	if _, err := c.Upload(t.Context(), "a", "batch", strings.NewReader("x"), 1, nil); err == nil || !strings.Contains(err.Error(), "too large (413, file)") {
		t.Errorf("refused: %v", err)
	}
}

// A download that breaks off is taken up at the very byte.
func TestDownload(t *testing.T) {
	content := []byte(strings.Repeat("0123456789", 1000))
	n := 0
	broken := func(ranges bool) *Client {
		n = 0
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			n++
			rest := content
			if header := r.Header.Get("Range"); header != "" && ranges {
				from, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(header, "bytes="), "-"))
				if err != nil {
					t.Errorf("Range %q", header)
				}
				rest = content[from:]
				w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
				w.WriteHeader(http.StatusPartialContent)
			} else {
				w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
			}
			if n < 4 {
				_, _ = w.Write(rest[:777])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(rest)
		})
	}
	var got bytes.Buffer
	if written, err := broken(true).Download(t.Context(), "file-1", &got); err != nil || !bytes.Equal(got.Bytes(), content) || written != int64(len(content)) || n != 4 {
		t.Errorf("%d bytes in %d attempts, %v", written, n, err)
	}
	got.Reset()
	if _, err := broken(false).Download(t.Context(), "file-1", &got); err == nil || !strings.Contains(err.Error(), "does not take it up") {
		t.Errorf("a server without ranges: %v", err)
	}
	if !bytes.Equal(got.Bytes(), content[:777]) {
		t.Errorf("%d bytes were written", got.Len())
	}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		panic(http.ErrAbortHandler)
	})
	if _, err := c.Download(t.Context(), "file-1", io.Discard); err == nil {
		t.Error("a server that always breaks off")
	}
}

func TestReady(t *testing.T) {
	var n atomic.Int64
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) < 3 {
			refuse(w, 503, "")
		}
	})
	if err := c.Ready(t.Context()); err != nil || n.Load() != 3 {
		t.Errorf("%v after %d", err, n.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := (&Client{Server: "http://127.0.0.1:1"}).Ready(ctx); err == nil || !strings.Contains(err.Error(), "waiting for the gateway") {
		t.Errorf("never: %v", err)
	}
}
