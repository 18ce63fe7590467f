package upstreams

import (
	"math/bits"
	"sync"
)

// Buffers for answers are pooled by capacity, which is 4 KiB times a power of four,
// up to 1 MiB. Larger ones are left to the garbage collector.
const (
	smallestBuffer = 4 << 10
	largestBuffer  = 1 << 20
	bufferClasses  = 5
)

var buffers [bufferClasses]sync.Pool // of *buffer

// buffer is a pooled byte slice.
type buffer struct{ b []byte }

// classOf returns the smallest class with a capacity of at least n bytes.
func classOf(n int) int {
	if n <= smallestBuffer {
		return 0
	}
	return (bits.Len(uint(n-1)) - bits.Len(smallestBuffer-1) + 1) / 2
}

// getBuffer returns an empty buffer with a capacity of at least n bytes.
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

// put returns b to its pool. b must not be used afterwards.
func (b *buffer) put() {
	size := cap(b.b)
	class := classOf(size)
	if class >= bufferClasses || size != smallestBuffer<<(2*class) {
		return
	}
	b.b = b.b[:0]
	buffers[class].Put(b)
}

// grow extends the capacity by at least one byte, up to limit.
func (b *buffer) grow(limit int) {
	larger := getBuffer(min(max(4*cap(b.b), smallestBuffer), limit))
	larger.b = append(larger.b, b.b...)
	b.b, larger.b = larger.b, b.b
	larger.put()
}
