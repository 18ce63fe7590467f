package upstreams

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// payload is the body of a request, which several attempts may send, one after
// the other.
//
// Its memory is left to the garbage collector: a transport may still be sending
// when the answer is there already, and the only bodies that net/http sends in
// one write with the header are those that do not tell it when they are closed.
type payload struct {
	head   []byte    // all of it, or what was kept of a larger one
	rest   io.Reader // what follows head; nil when that is all
	length int64     // of all; -1 when it is not known
}

const (
	// firstRead is how much room is made for a body of unknown length, in bytes.
	firstRead = 4 << 10
	// trusted is how much room is made because a client says that it will send
	// so much, in bytes.
	trusted = 1 << 20
)

// errBodyLength is that a client sent less than it said.
var errBodyLength = errors.New("the body is shorter than its Content-Length")

// readPayload reads the body of r, up to limit bytes of it.
func readPayload(r *http.Request, limit int64) (*payload, error) {
	size := r.ContentLength
	// One byte more than is wanted: so the body's end is seen, by which
	// net/http begins to watch for the client's leaving.
	most, room := limit+1, int64(firstRead)
	if size >= 0 {
		most, room = min(limit, size)+1, trusted
	}
	room = min(room, most)
	b := make([]byte, 0, room)
	for {
		n, err := r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			if int64(len(b)) < size {
				return nil, errBodyLength
			}
			return &payload{head: b, length: int64(len(b))}, nil
		}
		if err != nil {
			return nil, err
		}
		if int64(len(b)) == most {
			return &payload{head: b, rest: r.Body, length: size}, nil
		}
		if len(b) == cap(b) {
			larger := make([]byte, len(b), min(4*int64(cap(b)), most))
			copy(larger, b)
			b = larger
		}
	}
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
