package upstreams

import (
	"io"
	"net/http"

	"github.com/tidegate/tidegate/internal/openai"
)

// intake reads the body of a live request: all of it, or as much as is held of
// a larger one, and at least as much as names the model.
type intake struct {
	r     *http.Request
	route *route
	limit int64 // Config.RetryBuffer
	room  *bodyRoom
}

// read returns the body. The error may be a client's or the gateway's own
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

// most is how many bytes are read of a body of which limit are held: one more
// than there should be. So its end is seen, by which net/http begins to watch
// for the client's leaving.
func (in *intake) most(limit int64) int64 {
	if size := in.r.ContentLength; size >= 0 {
		return min(limit, size) + 1
	}
	return limit + 1
}

// named reports whether the beginning of a body names the model.
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

// trimmed drops a byte order mark, which JSON may not begin with (RFC 8259,
// 8.1) and which servers differ about.
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
