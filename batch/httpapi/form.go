package httpapi

import (
	"context"
	"errors"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"

	"github.com/tidegate/tidegate/internal/openai"
)

// The limits of a multipart form but for its file.
const (
	formParts    = 64       // parts of any kind
	formHeader   = 16 << 10 // bytes of a part's header
	formField    = 64 << 10 // bytes of a field
	formBoundary = 70       // characters: RFC 2046, 5.1.1
	copyBuffer   = 64 << 10
	formOverhead = formParts * (formHeader + formField)
)

// form parses a multipart/form-data body as a stream. Its file is written to the writer
// that open returns; its fields are stored.
type form struct {
	// file is the name of the part with the file.
	file string
	// known are the names of the fields that are stored. Others are ignored.
	known []string
	// limit is the maximum size of the file, in bytes.
	limit int64
	// open is called with the cleaned file name when the file begins. Earlier
	// fields are already stored.
	open func(ctx context.Context, filename string) (io.Writer, error)

	fields  map[string]string
	hasFile bool
}

// read reads all of the body. A body is complete only if read returns without an
// error.
func (f *form) read(r *http.Request) error {
	boundary, err := boundaryOf(r)
	if err != nil {
		return err
	}
	if r.ContentLength > f.limit+formOverhead {
		return openai.TooLarge(f.file, "The body of the request is larger than a file may be: the limit is %d bytes.", f.limit)
	}
	f.fields = make(map[string]string)
	gauge := &gauge{r: r.Body}
	parts := multipart.NewReader(gauge, boundary)
	buf := make([]byte, copyBuffer)
	for n := 0; ; n++ {
		gauge.left = formHeader
		part, err := parts.NextRawPart()
		if err == io.EOF { // the closing boundary; see gauge
			return drain(r.Body)
		}
		if err != nil {
			return errForm(err, "it ends too early or is malformed")
		}
		if n == formParts {
			return errForm(nil, "it has too many parts")
		}
		gauge.left = math.MaxInt64
		if err := f.take(r.Context(), part, buf); err != nil {
			return err
		}
	}
}

// drain reads the data after the closing boundary, so that a request that is truncated
// there is rejected too.
func drain(body io.Reader) error {
	if _, err := io.Copy(io.Discard, io.LimitReader(body, formField)); err != nil {
		return errBody(err)
	}
	return nil
}

// formAround is an upper estimate of the size of a form without its file, in bytes.
const formAround = 4 << 10

// declared returns the minimum size of the file of a form, in bytes, from the Content-Length
// of the request; 0 without one.
func declared(r *http.Request) int64 {
	if r.ContentLength <= 0 {
		return 0
	}
	return max(1, r.ContentLength-formAround)
}

func boundaryOf(r *http.Request) (string, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media != "multipart/form-data" {
		return "", errContentType(r, "multipart/form-data")
	}
	boundary := params["boundary"]
	if err != nil || boundary == "" || len(boundary) > formBoundary {
		return "", errForm(err, "its Content-Type has no valid boundary")
	}
	return boundary, nil
}

func errForm(cause error, what string) *openai.Error {
	if refusal, ok := errors.AsType[*openai.Error](cause); ok { // of the reader of the body
		return refusal
	}
	if errors.Is(cause, errHeaderTooLong) {
		what = "the header of a part is too long"
	}
	if _, malformed := errors.AsType[textproto.ProtocolError](cause); malformed {
		what = "the header of a part is malformed, for example by a control character in the name of the file"
	}
	return openai.InvalidRequest("", "", "We could not parse the multipart form of your request: %s.", what).WithCause(cause)
}

// take reads one part to its end.
func (f *form) take(ctx context.Context, part *multipart.Part, buf []byte) error {
	d, err := parseDisposition(part.Header.Get("Content-Disposition"))
	name := d.name
	switch {
	case errors.Is(err, errNotFormData), err == nil && name == "":
		return errForm(err, "a part has no name")
	case err != nil:
		return errForm(err, "the Content-Disposition of a part cannot be read: "+err.Error())
	}
	if name == f.file {
		if !d.isFile {
			return openai.InvalidType(f.file, "a file", "a string")
		}
		return f.takeFile(ctx, part, d.filename, buf)
	}
	value, err := io.ReadAll(io.LimitReader(part, formField+1))
	if err != nil {
		return errBody(err)
	}
	if len(value) > formField {
		return openai.TooLarge(clip(name), "The field '%s' is larger than the limit of %d bytes.", clip(name), formField)
	}
	if !slices.Contains(f.known, name) {
		return nil
	}
	if _, twice := f.fields[name]; twice {
		return errTwice(name)
	}
	f.fields[name] = string(value)
	return nil
}

func (f *form) takeFile(ctx context.Context, part *multipart.Part, filename string, buf []byte) error {
	if f.hasFile {
		return errTwice(f.file)
	}
	filename, err := ParseFilename(f.file, filename)
	if err != nil {
		return err
	}
	f.hasFile = true
	dst, err := f.open(ctx, filename)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{dst}, bodyReader{part}, buf)
	if broken, ok := errors.AsType[*bodyError](err); ok {
		return errBody(broken.err)
	}
	return err
}

func errTwice(name string) *openai.Error {
	return openai.InvalidRequest(name, "invalid_value", "Invalid '%s': it is given more than once.", name)
}

// bodyReader marks errors of reading, to distinguish them from errors of writing.
type bodyReader struct{ r io.Reader }

func (b bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = &bodyError{err}
	}
	return n, err
}

var errHeaderTooLong = errors.New("header is too long")

// gauge limits a body for mime/multipart. It returns at most left bytes, because
// mime/multipart accepts headers of 10 MiB. It ends with an error, never with io.EOF,
// because mime/multipart returns the io.EOF of a body that ends in a header as if the
// form was complete.
type gauge struct {
	r    io.Reader
	left int64
	end  string // to be read after the end of r
	over bool   // r has ended
}

func (g *gauge) Read(p []byte) (int, error) {
	if g.left <= 0 {
		return 0, errHeaderTooLong
	}
	if g.over {
		return g.readEnd(p)
	}
	n, err := g.r.Read(p)
	g.left -= int64(n)
	if err == io.EOF {
		// mime/multipart searches for the line end after the closing
		// boundary, which may be missing (RFC 2046, 5.1.1).
		g.over, g.end, err = true, "\r\n", nil
	}
	return n, err
}

func (g *gauge) readEnd(p []byte) (int, error) {
	if g.end == "" {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, g.end)
	g.end = g.end[n:]
	return n, nil
}
