package upstreams

import (
	"io"
	"net/http"

	"github.com/tidegate/tidegate/internal/openai"
)

// intake reads the body of a live request: the whole body, or as much of a larger one
// as is kept for retries, but at least up to the name of the model.
type intake struct {
	r     *http.Request
	route *route
	limit int64 // Config.RetryBuffer
	room  *bodyRoom
}

// read returns the body. The error is a client's or a gateway's error
// (*openai.Error).
func (in *intake) read() (*payload, error) {
	size := in.r.ContentLength
	largest := max(in.room.memory.largest(), in.limit)
	most := in.most(in.limit)
	b := make([]byte, 0, min(most, firstRead))
	if size >= 0 {
		b = make([]byte, 0, min(most, smallBody))
	}
	in.room.grow(int64(cap(b)))
	for {
		n, err := in.r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF && int64(len(b)) < size:
			return nil, errBodyLength
		case err == io.EOF:
			return in.trimmed(&payload{head: b, length: int64(len(b))}), nil
		case err != nil:
			return nil, err
		case len(b) < cap(b):
			continue
		}
		if int64(len(b)) == most {
			if in.named(b) {
				return in.beginning(b), nil
			}
			if most > largest {
				return nil, openai.TooLarge("model", "The body does not name its model in its first %d bytes. Put 'model' first, or raise body_memory.", largest)
			}
			most = in.most(largest)
		}
		next := min(2*int64(cap(b)), most)
		if cap(b) < trusted {
			next = min(4*int64(cap(b)), most)
		}
		if !in.room.grow(next) {
			if in.named(b) {
				in.room.memory.streamed.Add(1)
				return in.beginning(b), nil
			}
			if err := in.room.wait(in.r.Context(), next); err != nil {
				return nil, err
			}
		}
		larger := make([]byte, len(b), next)
		copy(larger, b)
		b = larger
	}
}

// most returns the number of bytes to read of a body if limit bytes are kept: one more than
// expected. This reads the end of the body, after which net/http begins to detect that the
// client disconnects.
func (in *intake) most(limit int64) int64 {
	if size := in.r.ContentLength; size >= 0 {
		return min(limit, size) + 1
	}
	return limit + 1
}

// named reports whether the beginning of a body contains the model's name.
func (in *intake) named(head []byte) bool {
	if !in.route.form {
		head = openai.TrimBOM(head)
	}
	_, _, err := in.route.model(head, false, in.r.Header.Get("Content-Type"))
	return err == nil
}

func (in *intake) beginning(head []byte) *payload {
	return in.trimmed(&payload{head: head, rest: &clientBody{Reader: in.r.Body}, length: in.r.ContentLength})
}

// trimmed removes a byte order mark, which JSON must not begin with (RFC 8259, 8.1)
// and which servers treat differently.
func (in *intake) trimmed(p *payload) *payload {
	if in.route.form {
		return p
	}
	head := openai.TrimBOM(p.head)
	if dropped := len(p.head) - len(head); dropped > 0 && p.length > 0 {
		p.length -= int64(dropped)
	}
	p.head = head
	return p
}
