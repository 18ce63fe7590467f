package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// received is an upload as received by a server.
type received struct {
	purpose, name, content string
	length                 int64 // Content-Length, -1 for none
}

// receive reads a form and its file, and answers.
func receive(t *testing.T, to *received) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		to.length = r.ContentLength
		form, err := r.MultipartReader()
		if err != nil {
			t.Error(err)
			return
		}
		for {
			part, err := form.NextPart()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Error(err)
				return
			}
			text, err := io.ReadAll(part)
			if err != nil {
				t.Error(err)
				return
			}
			switch part.FormName() {
			case "purpose":
				to.purpose = string(text)
			case "file":
				to.name, to.content = part.FileName(), string(text)
			}
		}
		if n, err := io.Copy(io.Discard, r.Body); n > 0 || err != nil {
			t.Errorf("%d bytes behind the form, %v", n, err)
		}
		says(200, aFile)(w, r)
	}
}

func fileOf(text string) Content {
	return Content{Name: "in.jsonl", Purpose: "batch", At: strings.NewReader(text), Size: int64(len(text))}
}

func TestUpload(t *testing.T) {
	text := strings.Repeat("0123456789abcde\n", 20_000)
	for name, content := range map[string]Content{
		"file":         fileOf(text),
		"empty file":   fileOf(""),
		"stream":       {Name: "in.jsonl", Purpose: "batch", Stream: strings.NewReader(text)},
		"slow stream":  {Name: "in.jsonl", Purpose: "batch", Stream: iotest.OneByteReader(strings.NewReader(text[:1000]))},
		"empty stream": {Name: "in.jsonl", Purpose: "batch", Stream: strings.NewReader("")},
	} {
		t.Run(name, func(t *testing.T) {
			want := text
			switch {
			case strings.Contains(name, "empty"):
				want = ""
			case strings.Contains(name, "slow"):
				want = text[:1000]
			}
			var got received
			var sent int64
			content.Sent = func(n int64) {
				if n < sent {
					t.Errorf("%d sent after %d", n, sent)
				}
				sent = n
			}
			s, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if chunked := len(r.TransferEncoding) > 0; chunked != (content.At == nil) {
					t.Errorf("transfer encoding %q", r.TransferEncoding)
				}
				receive(t, &got)(w, r)
			})
			f, err := c.Upload(t.Context(), content)
			if err != nil || f.ID != "file-1" {
				t.Fatalf("%+v, %v", f, err)
			}
			if got.content != want || got.name != "in.jsonl" || got.purpose != "batch" {
				t.Errorf("got %d bytes of %q for %q", len(got.content), got.name, got.purpose)
			}
			if sent != int64(len(want)) {
				t.Errorf("got %d bytes reported as sent, want %d", sent, len(want))
			}
			if content.At == nil && got.length != -1 {
				t.Errorf("a stream of %d bytes?", got.length)
			}
			// The form around the content is of one length but for the boundary,
			// which has one too.
			head, tail, _, err := form(content)
			if err != nil {
				t.Fatal(err)
			}
			if want := int64(len(head) + len(want) + len(tail)); content.At != nil && got.length != want {
				t.Errorf("Content-Length %d, want %d", got.length, want)
			}
			s.want(t, 1)
		})
	}
}

func TestFileNames(t *testing.T) {
	for name, want := range map[string]string{
		`in "quotes".jsonl`:   `in "quotes".jsonl`,
		`back\slash.jsonl`:    `back\slash.jsonl`,
		"line\r\nbreak.jsonl": "line%0D%0Abreak.jsonl",
		"in\nX-Evil: 1.jsonl": "in%0AX-Evil: 1.jsonl",
		"größe 文件.jsonl":      "größe 文件.jsonl",
		`a"; name="purpose`:   `a"; name="purpose`,
	} {
		t.Run(name, func(t *testing.T) {
			var got received
			_, c := serve(t, receive(t, &got))
			content := fileOf("x\n")
			content.Name = name
			if _, err := c.Upload(t.Context(), content); err != nil {
				t.Fatal(err)
			}
			if got.name != want || got.purpose != "batch" || got.content != "x\n" {
				t.Errorf("got %+v, want the name %q", got, want)
			}
		})
	}
}

// partly reads a part of an upload and then calls another handler.
func partly(then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 5000)
		then(w, r)
	}
}

func TestUploadOfAFileIsRetried(t *testing.T) {
	text := strings.Repeat("0123456789abcde\n", 500_000) // more than all buffers of the connection
	for name, first := range map[string][]http.HandlerFunc{
		"broken at once":           {breaksUnread},
		"broken on the way":        {partly(breaksUnread), partly(breaksUnread)},
		"broken at the end":        {breaks},
		"not ready":                {says(503, ""), says(503, "")},
		"too many, while it reads": {partly(says(429, "")), partly(says(503, "")), partly(says(500, ""))},
	} {
		t.Run(name, func(t *testing.T) {
			var got received
			s, c := serve(t, append(first, receive(t, &got))...)
			returned := make(chan struct{})
			content := fileOf(text)
			content.Sent = func(int64) {
				select {
				case <-returned:
					t.Error("Sent was called after Upload returned")
				default:
				}
			}
			f, err := c.Upload(t.Context(), content)
			close(returned)
			if err != nil || f.ID != "file-1" {
				t.Fatalf("%+v, %v", f, err)
			}
			if got.content != text {
				t.Errorf("%d bytes came, want the %d of the file", len(got.content), len(text))
			}
			s.want(t, len(first)+1)
		})
	}
}

func breaksUnread(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestUploadThatIsRefused(t *testing.T) {
	for _, status := range []int{400, 401, 413, 507} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s, c := serve(t, says(status, `{"error":{"message":"no"}}`))
			content := fileOf("")
			read := &watchedReader{}
			content.At, content.Size = read, 1<<40
			_, err := c.Upload(t.Context(), content)
			if e, ok := errors.AsType[*Error](err); !ok || e.Status != status || e.Message != "no" {
				t.Errorf("got %v", err)
			}
			if read.n > 0 {
				t.Error("the content was read for a server that refused it before")
			}
			s.want(t, 1)
		})
	}
}

// watchedReader counts reads.
type watchedReader struct{ n int }

func (w *watchedReader) ReadAt(p []byte, _ int64) (int, error) { w.n++; return len(p), nil }

func TestStreamIsNotRetried(t *testing.T) {
	for name, first := range map[string]http.HandlerFunc{
		"broken":    partly(breaksUnread),
		"not ready": says(503, `{"error":{"message":"starting"}}`),
		"too many":  partly(says(429, "")),
	} {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, first)
			_, err := c.Upload(t.Context(), Content{Name: "x", Purpose: "batch", Stream: strings.NewReader(strings.Repeat("x", 1<<20))})
			if err == nil || !strings.Contains(err.Error(), "not retried, because a stream cannot be read again") || !MayPass(err) {
				t.Errorf("got %v", err)
			}
			s.want(t, 1)
		})
	}
	_, c := serve(t, says(400, `{"error":{"message":"no"}}`))
	if _, err := c.Upload(t.Context(), Content{Stream: strings.NewReader("x")}); err == nil || strings.Contains(err.Error(), "retried") {
		t.Errorf("a refusal is no reason to speak of retries: %v", err)
	}
}

var errDisk = errors.New("input/output error")

func TestContentThatCannotBeRead(t *testing.T) {
	text := strings.Repeat("x", 100_000)
	broken := io.MultiReader(strings.NewReader(text), iotest.ErrReader(errDisk))
	tests := map[string]struct {
		content Content
		want    error
	}{
		"shorter": {Content{At: strings.NewReader(text), Size: 200_000}, errChanged},
		"longer":  {Content{At: strings.NewReader(text), Size: 50_000}, errChanged},
		"file":    {Content{At: readerAt{errDisk}, Size: 10}, errDisk},
		"stream":  {Content{Stream: broken}, errDisk},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			c.Pause = time.Hour // a retry would show
			_, err := c.Upload(t.Context(), tt.content)
			if !errors.Is(err, tt.want) || MayPass(err) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			s.want(t, 1)
		})
	}
}

type readerAt struct{ err error }

func (r readerAt) ReadAt([]byte, int64) (int, error) { return 0, r.err }

func TestUploadIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hangs := func(cancel func()) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 100)
			cancel()
			_, _ = io.Copy(io.Discard, r.Body)
		}
	}
	_, c := serve(t, hangs(cancel))
	in, out := io.Pipe()
	defer context.AfterFunc(ctx, func() { _ = in.CloseWithError(ctx.Err()) })()
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() { _, _ = out.Write(bytes.Repeat([]byte("x"), 1000)) })
	if _, err := c.Upload(ctx, Content{Stream: in}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ctx, cancel2 := context.WithCancel(t.Context())
	defer cancel2()
	_, c = serve(t, hangs(cancel2))
	if _, err := c.Upload(ctx, fileOf(strings.Repeat("x", 50<<20))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestUploadAnsweredByNoGateway(t *testing.T) {
	s, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		says(200, "<html>")(w, r)
	})
	if _, err := c.Upload(t.Context(), fileOf("x")); err == nil || !strings.Contains(err.Error(), "POST /v1/files is no gateway") {
		t.Errorf("got %v", err)
	}
	s.want(t, 1)
}

// The boundary must be new for every form, or a content could break out.
func TestBoundaries(t *testing.T) {
	_, _, one, err1 := form(fileOf(""))
	_, _, two, err2 := form(fileOf(""))
	if err := errors.Join(err1, err2); err != nil || one == two {
		t.Errorf("%s, %s, %v", one, two, err)
	}
}

// The transport may read on for a moment after the answer.
func TestNothingIsToldAfterTheEnd(t *testing.T) {
	told := 0
	body := &uploadBody{sent: func(int64) { told++ }}
	r := &contentReader{stream: strings.NewReader("xy"), body: body}
	for range 2 {
		if n, err := r.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		body.end()
	}
	if told != 1 {
		t.Errorf("Sent was called %d times", told)
	}
}
