package upstreams

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// payload is the body of a request, which several attempts may send, one after
// the other.
//
// Its memory is left to the garbage collector: a transport may still be sending
// when the answer is there already, and the only bodies that net/http sends in
// one write with the header are those that do not tell it when they are closed.
type payload struct {
	head   []byte      // all of it, or what was kept of a larger one
	rest   *clientBody // what follows head; nil when that is all
	length int64       // of all; -1 when it is not known
}

const (
	// firstRead is how much room is made for a body of unknown length, in bytes.
	firstRead = 4 << 10
	// trusted is up to which size the room for a body grows fourfold, in bytes.
	trusted = 1 << 20
)

// errBodyLength is that a client sent less than it said.
var errBodyLength = errors.New("the body is shorter than its Content-Length")

// clientBody is the rest of a body that is sent as it comes. It remembers how
// the client broke off.
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

// fault is how the client broke off, nil when it did not.
func (p *payload) fault() error {
	if p.rest == nil {
		return nil
	}
	if err := p.rest.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// replayable tells whether the body can be sent more than once.
func (p *payload) replayable() bool { return p.rest == nil }

// reader gives the body to a transport.
func (p *payload) reader() io.ReadCloser {
	switch {
	case p.length == 0:
		return http.NoBody
	case p.rest == nil:
		return io.NopCloser(bytes.NewReader(p.head))
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(p.head), p.rest))
}
