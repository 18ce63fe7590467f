package upstreams

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/tidegate/tidegate/internal/openai"
)

// payload is the body of a request, which several attempts may send, one after the
// other.
//
// Its memory is left to the garbage collector: a transport may still be sending when
// the answer arrives, and net/http sends only bodies that do not report their close
// together with the header in one write.
type payload struct {
	head   []byte      // the complete body, or the buffered part of a larger one
	rest   *clientBody // the part after head; nil if head is complete
	length int64       // in total; -1 if not known
	// edit is made while the body is sent. It changes nothing if it is the zero value.
	edit openai.Edit
}

const (
	// firstRead is the initial buffer for a body of unknown length, in bytes.
	firstRead = 4 << 10
	// trusted is the size up to which the buffer for a body grows fourfold, in bytes.
	trusted = 1 << 20
	// copied is the size up to which a body with an edit is copied, in bytes, so that it is
	// sent together with the header. Larger ones are sent in parts.
	copied = 16 << 10
)

// with returns the body with an edit. The body must be replayable.
func (p *payload) with(e openai.Edit) *payload {
	return &payload{head: p.head, length: p.length + int64(e.Growth()), edit: e}
}

// errBodyLength reports that a client sent less than the announced length.
var errBodyLength = errors.New("the body is shorter than its Content-Length")

// clientBody is the rest of a body that is streamed. It records an error of the
// client.
type clientBody struct {
	io.Reader
	broken atomic.Pointer[error]
}

func (c *clientBody) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err != nil && err != io.EOF {
		c.broken.CompareAndSwap(nil, &err)
	}
	return n, err
}

// fault returns the error with which the client broke off, nil if it did not.
func (p *payload) fault() error {
	if p.rest == nil {
		return nil
	}
	if err := p.rest.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// replayable reports whether the body can be sent more than once.
func (p *payload) replayable() bool { return p.rest == nil }

// reader returns the body for a transport.
func (p *payload) reader() io.ReadCloser {
	switch {
	case p.length == 0:
		return http.NoBody
	case p.edit.Insert != nil && len(p.head) <= copied:
		return io.NopCloser(bytes.NewReader(p.edit.Apply(p.head)))
	case p.edit.Insert != nil:
		behind := p.head[p.edit.At+p.edit.Cut:]
		return io.NopCloser(io.MultiReader(bytes.NewReader(p.head[:p.edit.At]), bytes.NewReader(p.edit.Insert), bytes.NewReader(behind)))
	case p.rest == nil:
		return io.NopCloser(bytes.NewReader(p.head))
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(p.head), p.rest))
}
