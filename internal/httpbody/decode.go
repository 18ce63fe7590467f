package httpbody

import (
	"bufio"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tidegate/tidegate/internal/openai"
)

const (
	// window is the largest zstd window that is decoded, in bytes: the limit of
	// RFC 9659 for Content-Encoding.
	window = 8 << 20
	// decodersAtOnce bounds the memory for windows.
	decodersAtOnce = 16
	// decoderWait limits the wait of a request for a decoder.
	decoderWait = 10 * time.Second
	inputBuffer = 16 << 10
	// mostRatio and anyRatio bound what a body with a limit becomes: mostRatio
	// times the bytes that were received, and anyRatio bytes in any case. A bomb of
	// zstd has a ratio of 32,000; prompts that long and that repetitive fit into
	// anyRatio.
	mostRatio = 256
	anyRatio  = 8 << 20
)

// Supported are the values of Content-Encoding that Decode decodes.
const Supported = "gzip, deflate, zstd"

var decoders = make(chan struct{}, decodersAtOnce)

// Decode returns r with its body decoded, and r itself if its body is not
// compressed. A decoded body of more than limit bytes, or one that is much larger
// than it came, fails with 413; 0 is no limit. release ends the use of the body.
//
// It is lazy: a body is decoded as it is read, one block in memory.
func Decode(r *http.Request, limit int64) (decoded *http.Request, release func(), err error) {
	coding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header["Content-Encoding"], ",")))
	switch coding {
	case "", "identity":
		return r, func() {}, nil
	case "gzip", "x-gzip", "deflate", "zstd":
	default:
		return nil, nil, errCoding(coding)
	}
	wait := time.NewTimer(decoderWait)
	defer wait.Stop()
	select {
	case decoders <- struct{}{}:
	case <-wait.C:
		return nil, nil, openai.Unavailable(decoderWait, "Too many compressed requests are being decoded. Retry, or send the body uncompressed.")
	case <-r.Context().Done():
		return nil, nil, r.Context().Err()
	}
	out := new(http.Request)
	*out = *r
	out.Header = r.Header.Clone()
	out.Header.Del("Content-Encoding")
	out.Header.Del("Content-Length")
	out.ContentLength = -1
	out.Body = &decoder{coding: strings.TrimPrefix(coding, "x-"), src: source{ReadCloser: r.Body}, limit: limit}
	return out, func() { <-decoders }, nil
}

// errCoding is the 415 for an encoding that is not decoded.
func errCoding(coding string) *openai.Error {
	return &openai.Error{
		Status: http.StatusUnsupportedMediaType, Type: openai.TypeInvalidRequest, Code: "unsupported_content_encoding",
		Message: fmt.Sprintf("Unsupported Content-Encoding: %q. Supported are: %s.", coding[:min(len(coding), 100)], Supported),
	}
}

// decoder is a body that is decoded as it is read.
type decoder struct {
	coding string
	src    source
	input  *bufio.Reader // of src; nil before the first Read
	limit  int64
	plain  io.Reader // nil before the first Read
	read   int64
	err    error
}

func (d *decoder) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.plain == nil {
		if d.plain, d.err = d.open(); d.err != nil {
			d.err = d.explain(d.err)
			return 0, d.err
		}
	}
	n, err := d.plain.Read(p)
	d.read += int64(n)
	switch {
	case d.limit > 0 && d.read > d.limit:
		n, d.err = 0, openai.TooLarge("", "The decompressed body is larger than the limit of %d bytes.", d.limit)
	case d.limit > 0 && d.read > max(anyRatio, mostRatio*d.src.read):
		n, d.err = 0, openai.TooLarge("", "The body is more than %d MiB and more than %d times its compressed size. Send it uncompressed.", anyRatio>>20, mostRatio)
	case err == io.EOF:
		d.err = d.rest()
	case err != nil:
		d.err = d.explain(err)
	}
	return n, d.err
}

func (d *decoder) open() (io.Reader, error) {
	d.input = bufio.NewReaderSize(&d.src, inputBuffer)
	switch d.coding {
	case "gzip":
		return gzip.NewReader(d.input)
	case "deflate":
		return zlib.NewReader(d.input)
	default:
		// With one goroutine, a decoder that is not closed does not leak
		// goroutines.
		return zstd.NewReader(d.input, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	}
}

// rest reads the body to its end. After that net/http detects that the client
// disconnects.
func (d *decoder) rest() error {
	switch _, err := d.input.ReadByte(); err {
	case nil:
		return d.explain(errTrailing)
	case io.EOF:
		return io.EOF
	default:
		return err
	}
}

var errTrailing = errors.New("something follows its end")

// explain distinguishes a truncated body from a corrupt one.
func (d *decoder) explain(err error) error {
	if d.src.err != nil {
		return d.src.err
	}
	why := "it is corrupt"
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		why = "it ends too early"
	case errors.Is(err, errTrailing):
		why = err.Error()
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrWindowSizeTooSmall):
		why = fmt.Sprintf("it needs a window of more than %d MiB", window>>20)
	}
	return openai.InvalidRequest("", "invalid_content_encoding", "The body of the request could not be decompressed as %s: %s.", d.coding, why).WithCause(err)
}

// Close closes the body.
func (d *decoder) Close() error { return d.src.Close() }

// source counts what is read, and remembers an error of reading but the end.
type source struct {
	io.ReadCloser
	read int64 // bytes
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.read += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func bytesPerSecond(n int64) string {
	if n%(1<<10) == 0 {
		return strconv.FormatInt(n>>10, 10) + " KiB/s"
	}
	return strconv.FormatInt(n, 10) + " bytes/s"
}
