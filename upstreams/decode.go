package upstreams

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow limits the memory that a zstd answer may require, in bytes (RFC 9659
// limits content codings to 8 MiB).
const zstdWindow = 8 << 20

// codingError reports a content coding that was not requested and cannot be decoded.
type codingError struct{ coding string }

func (e *codingError) Error() string {
	return fmt.Sprintf("the answer has the content encoding '%s', which was not asked for and cannot be decoded", e.coding)
}

// decode replaces the answer's body by a decoding reader. The gateway requests no
// content coding, but proxies in between may compress nevertheless. The error is a
// *codingError.
func decode(answer *http.Response) error {
	values := answer.Header["Content-Encoding"]
	if len(values) == 0 {
		return nil
	}
	codings := strings.Split(strings.Join(values, ","), ",")
	for _, coding := range slices.Backward(codings) { // the last was applied last
		coding = strings.ToLower(strings.TrimSpace(coding))
		var open func(io.Reader) (io.ReadCloser, error)
		switch coding {
		case "", "identity":
			continue
		case "gzip", "x-gzip":
			open = func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }
		case "deflate":
			open = openDeflate
		case "zstd":
			open = func(r io.Reader) (io.ReadCloser, error) {
				d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
				if err != nil {
					return nil, err
				}
				return d.IOReadCloser(), nil
			}
		default:
			return &codingError{clipText(coding)}
		}
		answer.Body = &decoder{under: answer.Body, open: open}
	}
	delete(answer.Header, "Content-Encoding")
	delete(answer.Header, "Content-Length")
	delete(answer.Header, "Etag") // it identifies the encoded form
	answer.ContentLength = -1
	return nil
}

// openDeflate reads deflate in zlib's format, as RFC 9110 defines it, and raw
// deflate, which some servers send.
func openDeflate(r io.Reader) (io.ReadCloser, error) {
	var head [2]byte
	n, err := io.ReadFull(r, head[:])
	if err != nil {
		return nil, err
	}
	whole := io.MultiReader(strings.NewReader(string(head[:n])), r)
	if head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(whole)
	}
	return flate.NewReader(whole), nil
}

// decoder decodes a body. The first Read opens it, because opening reads from the
// body.
type decoder struct {
	under io.ReadCloser
	open  func(io.Reader) (io.ReadCloser, error)
	r     io.ReadCloser
	err   error
}

func (d *decoder) Read(p []byte) (int, error) {
	if d.r == nil && d.err == nil {
		d.r, d.err = d.open(d.under)
		if d.err != nil {
			d.err = fmt.Errorf("decoding the answer: %w", d.err)
		}
	}
	if d.err != nil {
		return 0, d.err
	}
	return d.r.Read(p)
}

func (d *decoder) Close() error {
	if d.r != nil {
		_ = d.r.Close() // Read has reported the error
	}
	return d.under.Close()
}
