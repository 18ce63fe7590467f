package uvarint_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/tidegate/tidegate/internal/uvarint"
)

func TestReader(t *testing.T) {
	b := binary.AppendUvarint([]byte{7}, math.MaxUint64)
	b = append(binary.AppendUvarint(b, 3), "abcd"...)
	r := uvarint.NewReader(b)
	if got := r.Byte(); got != 7 {
		t.Errorf("got byte %d, want 7", got)
	}
	if got := r.Uvarint(); got != math.MaxUint64 {
		t.Errorf("got number %d, want %d", got, uint64(math.MaxUint64))
	}
	text := r.Bytes(r.Uvarint())
	if string(text) != "abc" || cap(text) != 3 {
		t.Errorf("got bytes %q of capacity %d, want abc of 3", text, cap(text))
	}
	if !r.More() || r.Failed() {
		t.Errorf("got More %t and Failed %t before the last byte, want true and false", r.More(), r.Failed())
	}
	if got := r.Byte(); got != 'd' || r.More() || r.Failed() {
		t.Errorf("got byte %q, More %t and Failed %t at the end, want 'd', false and false", got, r.More(), r.Failed())
	}
}

// A read beyond the end, or of a malformed number, fails this and every later read.
func TestReaderFails(t *testing.T) {
	overflow := bytes.Repeat([]byte{0xff}, binary.MaxVarintLen64+1)
	for name, c := range map[string]struct {
		b    []byte
		read func(*uvarint.Reader)
	}{
		"byte":            {nil, func(r *uvarint.Reader) { r.Byte() }},
		"bytes":           {[]byte("abc"), func(r *uvarint.Reader) { r.Bytes(4) }},
		"cut off number":  {[]byte{0x80}, func(r *uvarint.Reader) { r.Uvarint() }},
		"too long number": {overflow, func(r *uvarint.Reader) { r.Uvarint() }},
	} {
		r := uvarint.NewReader(c.b)
		c.read(r)
		if !r.Failed() || r.More() {
			t.Errorf("%s: got Failed %t and More %t, want true and false", name, r.Failed(), r.More())
		}
		if v, b, text := r.Uvarint(), r.Byte(), r.Bytes(0); v != 0 || b != 0 || text != nil {
			t.Errorf("%s: got %d, %d and %q after the failure, want zero values", name, v, b, text)
		}
	}
}

// FuzzReader reads any bytes: what it returns, written again, is what it read.
func FuzzReader(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 2, 'a', 'b'})
	f.Add([]byte{0, 0x80})
	f.Add(bytes.Repeat([]byte{0xff}, 12))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := uvarint.NewReader(b)
		read := 0
		for r.More() {
			kind := r.Byte()
			n := r.Uvarint()
			if r.Failed() {
				return
			}
			text := r.Bytes(n)
			if r.Failed() {
				if text != nil {
					t.Fatalf("got %q of a failed read, want nil", text)
				}
				return
			}
			if b[read] != kind {
				t.Fatalf("got byte %d at %d, want %d", kind, read, b[read])
			}
			v, width := binary.Uvarint(b[read+1:])
			from := read + 1 + width
			if v != n || !bytes.Equal(text, b[from:from+int(n)]) {
				t.Fatalf("got number %d and bytes %q at %d, want %d and %q", n, text, read, v, b[from:from+int(n)])
			}
			read = from + int(n)
		}
		if read != len(b) {
			t.Fatalf("read %d bytes of %d", read, len(b))
		}
	})
}
