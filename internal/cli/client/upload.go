package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"sync"

	"github.com/tidegate/tidegate/internal/openai"
)

// Content is the content of an upload: At with Size, or Stream.
type Content struct {
	Name, Purpose string

	// At are Size bytes. They are read again when the upload is retried.
	At   io.ReaderAt
	Size int64
	// Stream can be read only once, so that it is sent only once. A Read that
	// waits must end with the context of Upload: net/http waits for it.
	Stream io.Reader

	// Sent is called with the number of bytes of the content that were sent, by
	// one goroutine at a time and not after Upload has returned. It restarts at 0
	// with a retry. May be nil.
	Sent func(n int64)
}

// Upload uploads a content.
func (c *Client) Upload(ctx context.Context, content Content) (f openai.File, err error) {
	attempt := func() error { return c.uploadOnce(ctx, content, &f) }
	if content.At != nil {
		return f, c.retry(ctx, attempt)
	}
	err = attempt()
	if err == nil {
		return f, nil
	}
	if ctx.Err() != nil {
		return f, ctx.Err()
	}
	if err = c.explain(err); MayPass(err) {
		err = fmt.Errorf("%w (not retried, because a stream cannot be read again; a file can)", err)
	}
	return f, err
}

func (c *Client) uploadOnce(ctx context.Context, content Content, f *openai.File) error {
	head, tail, contentType, err := form(content)
	if err != nil {
		return &finalError{err}
	}
	body := &uploadBody{sent: content.Sent}
	middle, total := &contentReader{stream: content.Stream, body: body}, int64(-1)
	if content.At != nil {
		middle.at, middle.size = content.At, content.Size
		middle.stream = io.NewSectionReader(content.At, 0, content.Size)
		total = int64(len(head)) + content.Size + int64(len(tail))
	}
	body.Reader = io.MultiReader(bytes.NewReader(head), middle, bytes.NewReader(tail))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Server+"/v1/files", body)
	if err != nil {
		return &finalError{fmt.Errorf("making request: %w", err)}
	}
	request.ContentLength = total
	request.Header.Set("Content-Type", contentType)
	// A request that is refused (a wrong key, no space) gets the response before
	// the content is sent, and not as a broken connection.
	request.Header.Set("Expect", "100-continue")
	answer, err := c.send(request)
	// After an early response the transport may still read the body.
	body.end()
	if err != nil {
		return err
	}
	return decode(answer, "file", f)
}

// form returns the parts of the body before and after the content.
func form(content Content) (head, tail []byte, contentType string, err error) {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	if err := w.WriteField("purpose", content.Purpose); err != nil {
		return nil, nil, "", err
	}
	if _, err := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition("file", content.Name)},
		"Content-Type":        {"application/octet-stream"},
	}); err != nil {
		return nil, nil, "", err
	}
	before := buf.Len()
	if err := w.Close(); err != nil {
		return nil, nil, "", err
	}
	return buf.Bytes()[:before], buf.Bytes()[before:], w.FormDataContentType(), nil
}

// uploadBody is the body of one attempt.
type uploadBody struct {
	io.Reader

	mu   sync.Mutex
	sent func(int64) // guarded by mu; nil at the end
}

// Close does nothing: the transport calls it, but the opener closes the content.
func (*uploadBody) Close() error { return nil }

// end has sent not called any more.
func (b *uploadBody) end() {
	b.mu.Lock()
	b.sent = nil
	b.mu.Unlock()
}

func (b *uploadBody) tell(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent != nil {
		b.sent(n)
	}
}

// contentReader reads and counts the content, and makes the upload fail permanently after
// a failed read.
type contentReader struct {
	stream io.Reader
	at     io.ReaderAt // nil for a stream
	size   int64       // of at
	n      int64
	body   *uploadBody
}

func (r *contentReader) Read(p []byte) (int, error) {
	n, err := r.stream.Read(p)
	r.n += int64(n)
	if n > 0 {
		r.body.tell(r.n)
	}
	if errors.Is(err, io.EOF) {
		if r.at != nil {
			err = r.check()
		}
		return n, err
	}
	if err != nil {
		err = &finalError{fmt.Errorf("reading the content: %w", err)}
	}
	return n, err
}

var errChanged = errors.New("it changed while it was uploaded")

// check returns io.EOF if the length of the content has not changed.
func (r *contentReader) check() error {
	if r.n < r.size {
		return &finalError{errChanged}
	}
	if n, _ := r.at.ReadAt(make([]byte, 1), r.size); n > 0 {
		return &finalError{errChanged}
	}
	return io.EOF
}
