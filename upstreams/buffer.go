package upstreams

import (
	"errors"
	"io"
	"math/bits"
	"net/http"
	"sync"
	"sync/atomic"
)

// Buffers are pooled by capacity, which is 4 KiB times a power of four, up to
// 1 MiB. Larger ones are left to the garbage collector.
const (
	smallestBuffer = 4 << 10
	largestBuffer  = 1 << 20
	bufferClasses  = 5
)

var buffers [bufferClasses]sync.Pool // of *buffer

// buffer is a slice that goes back to its pool.
type buffer struct{ b []byte }

// classOf is the smallest class that holds n bytes.
func classOf(n int) int {
	if n <= smallestBuffer {
		return 0
	}
	return (bits.Len(uint(n-1)) - bits.Len(smallestBuffer-1) + 1) / 2
}

// getBuffer gives an empty buffer with room for n bytes.
func getBuffer(n int) *buffer {
	class := classOf(n)
	if class >= bufferClasses {
		return &buffer{make([]byte, 0, n)}
	}
	if b, ok := buffers[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, 0, smallestBuffer<<(2*class))}
}

// put gives b back. It is not to be used after that.
func (b *buffer) put() {
	size := cap(b.b)
	class := classOf(size)
	if class >= bufferClasses || size != smallestBuffer<<(2*class) {
		return
	}
	b.b = b.b[:0]
	buffers[class].Put(b)
}

// grow makes room for at least one byte more, without passing limit.
func (b *buffer) grow(limit int) {
	larger := getBuffer(min(max(4*cap(b.b), smallestBuffer), limit))
	larger.b = append(larger.b, b.b...)
	b.b, larger.b = larger.b, b.b
	larger.put()
}

// errBodyLength is that a client sent less than it said.
var errBodyLength = errors.New("the body is shorter than its Content-Length")

// payload is the body of a request, which several attempts may read, one after
// the other. Its buffer goes back to the pool when the request is over and the
// transport has closed every reader: it may still be sending when the answer is
// there already.
type payload struct {
	buf    *buffer
	rest   io.Reader // what did not fit; nil when all is in buf
	length int64     // of all; -1 when it is not known
	refs   atomic.Int32
}

// readPayload reads the body of r, up to limit bytes of it.
func readPayload(r *http.Request, limit int64) (*payload, error) {
	size := r.ContentLength
	// One byte more than is wanted: so the body's end is seen, by which
	// net/http begins to watch for the client's leaving.
	most := int(limit + 1)
	first := smallestBuffer
	if size >= 0 {
		most = int(min(limit, size) + 1)
		first = min(most, largestBuffer) // a client may say more than it sends
	}
	p := &payload{buf: getBuffer(first), length: size}
	p.refs.Store(1)
	for {
		b := p.buf
		if len(b.b) == cap(b.b) {
			if len(b.b) >= most {
				break
			}
			b.grow(most)
		}
		n, err := r.Body.Read(b.b[len(b.b):min(cap(b.b), most)])
		b.b = b.b[:len(b.b)+n]
		if err == io.EOF {
			if size >= 0 && int64(len(b.b)) < size {
				p.release()
				return nil, errBodyLength
			}
			p.length = int64(len(b.b))
			return p, nil
		}
		if err != nil {
			p.release()
			return nil, err
		}
		if len(b.b) >= most {
			break
		}
	}
	p.rest = r.Body
	return p, nil
}

// replayable tells whether the body can be sent more than once.
func (p *payload) replayable() bool { return p.rest == nil }

// reader gives the body to a transport.
func (p *payload) reader() io.ReadCloser {
	if p.length == 0 {
		return http.NoBody
	}
	p.refs.Add(1)
	return &payloadReader{p: p, left: p.buf.b, rest: p.rest}
}

func (p *payload) release() {
	if p.refs.Add(-1) == 0 {
		p.buf.put()
		p.buf = nil
	}
}

// payloadReader is one attempt's view of a payload. The transport reads and
// closes it, perhaps in two goroutines.
type payloadReader struct {
	mu   sync.Mutex
	p    *payload // guarded by mu; nil when closed
	left []byte   // guarded by mu
	rest io.Reader
}

func (r *payloadReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	if r.p == nil {
		r.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	if len(r.left) > 0 {
		n := copy(b, r.left)
		r.left = r.left[n:]
		r.mu.Unlock()
		return n, nil
	}
	r.mu.Unlock()
	if r.rest == nil {
		return 0, io.EOF
	}
	return r.rest.Read(b)
}

func (r *payloadReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.p != nil {
		r.p.release()
		r.p, r.left = nil, nil
	}
	return nil
}
