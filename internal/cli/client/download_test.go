package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

var content = func() []byte {
	var b bytes.Buffer
	for i := range 20_000 {
		fmt.Fprintf(&b, "%08d\n", i)
	}
	return b.Bytes()
}()

// gives answers a request for from on with n bytes of the content, and then cuts the
// connection unless the content is complete.
func gives(t *testing.T, from, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		want := ""
		if from > 0 {
			want = fmt.Sprintf("bytes=%d-", from)
		}
		if got := r.Header.Get("Range"); got != want {
			t.Errorf("range %q, want %q", got, want)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(content[from : from+n])
		if from+n < len(content) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			panic(http.ErrAbortHandler)
		}
	}
}

// whole ignores that only a range was wanted.
func whole(t *testing.T, from int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.Header.Get("Range"), fmt.Sprintf("bytes=%d-", from); got != want {
			t.Errorf("range %q, want %q", got, want)
		}
		_, _ = w.Write(content)
	}
}

func TestDownload(t *testing.T) {
	all := len(content)
	tests := map[string]struct {
		answers []http.HandlerFunc
		err     string
		written int // with an error
	}{
		"in one piece":           {answers: []http.HandlerFunc{gives(t, 0, all)}},
		"taken up at the byte":   {answers: []http.HandlerFunc{gives(t, 0, 777), gives(t, 777, 1), gives(t, 778, all-778)}},
		"taken up after a pause": {answers: []http.HandlerFunc{gives(t, 0, 5), says(503, ""), breaks, gives(t, 5, all-5)}},
		"broken before a byte":   {answers: []http.HandlerFunc{gives(t, 0, 0), breaks, gives(t, 0, all)}},
		"more breaks than tries": {answers: []http.HandlerFunc{gives(t, 0, 1), gives(t, 1, 1), gives(t, 2, 1), gives(t, 3, 1), gives(t, 4, 1), gives(t, 5, 1), gives(t, 6, 1), gives(t, 7, all-7)}},
		"no headway":             {answers: []http.HandlerFunc{gives(t, 0, 9), gives(t, 9, 0), gives(t, 9, 0), gives(t, 9, 0), gives(t, 9, 0), gives(t, 9, 0)}, err: "unexpected EOF", written: 9},
		"range ignored":          {answers: []http.HandlerFunc{gives(t, 0, 1234), whole(t, 1234)}},
		"range ignored, and cut": {answers: []http.HandlerFunc{gives(t, 0, 1234), says(200, string(content[:99])), gives(t, 1234, all-1234)}},
		"another range":          {answers: []http.HandlerFunc{gives(t, 0, 10), elsewhere}, err: `requested bytes from 10 on, the gateway answered with "bytes 9-`, written: 10},
		"deleted meanwhile":      {answers: []http.HandlerFunc{gives(t, 0, 10), says(404, `{"error":{"message":"No such File object: file-1"}}`)}, err: "downloading file-1: No such File object: file-1 (404)", written: 10},
		"there is no such file":  {answers: []http.HandlerFunc{says(404, `{"error":{"message":"No such File object: file-1"}}`)}, err: "404"},
		"gateway errors":         {answers: []http.HandlerFunc{says(500, ""), says(500, ""), says(500, ""), says(500, ""), says(500, "")}, err: "500"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, tt.answers...)
			var got bytes.Buffer
			n, err := c.Download(t.Context(), "file-1", &got)
			want := content
			if tt.err != "" {
				want = content[:tt.written]
			}
			if !bytes.Equal(got.Bytes(), want) || n != int64(len(want)) {
				t.Errorf("%d bytes told, %d written, want %d", n, got.Len(), len(want))
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			s.want(t, len(tt.answers))
		})
	}
}

func elsewhere(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Range", fmt.Sprintf("bytes 9-%d/%d", len(content)-1, len(content)))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(content[9:])
}

var errFull = errors.New("no space left on device")

type fullWriter struct{ room int }

func (f *fullWriter) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestDownloadToAFullDisk(t *testing.T) {
	s, c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	c.Pause = time.Hour // a retry would show
	n, err := c.Download(t.Context(), "file-1", &fullWriter{room: 100})
	if !errors.Is(err, errFull) || n != 100 {
		t.Errorf("%d bytes, %v", n, err)
	}
	s.want(t, 1)
}

func TestDownloadIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(content)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		cancel()
		<-r.Context().Done()
	})
	if _, err := c.Download(ctx, "file-1", io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
