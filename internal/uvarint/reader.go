// Package uvarint reads records of bytes and uvarints, as encoding/binary appends them.
package uvarint

import "encoding/binary"

// Reader reads values from the front of a slice. After the first value that is cut off or
// malformed it returns only zero values and Failed reports true, so that a caller checks
// once for a group of values.
type Reader struct {
	rest   []byte
	failed bool
}

// NewReader returns a Reader of b. Bytes returns parts of b itself.
func NewReader(b []byte) *Reader { return &Reader{rest: b} }

// Failed reports whether a value was cut off or malformed.
func (r *Reader) Failed() bool { return r.failed }

// More reports whether bytes remain and no read has failed.
func (r *Reader) More() bool { return !r.failed && len(r.rest) > 0 }

// Uvarint reads a number.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.failed || n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Byte reads a byte.
func (r *Reader) Byte() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Bytes reads n bytes; nil if fewer remain. Appending to them does not change those that
// follow.
func (r *Reader) Bytes(n uint64) []byte {
	if r.failed || n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *Reader) fail() { r.rest, r.failed = nil, true }
