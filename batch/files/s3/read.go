package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"

	"github.com/minio/minio-go/v7"

	"github.com/tidegate/tidegate/batch"
)

// Read requests a range of a content. The end of ctx also ends reads.
func (f *Files) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	object, err := f.object(key)
	if err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("reading file %s: negative offset %d", key, offset)
	}
	conn, err := f.open()
	if err != nil {
		return nil, fmt.Errorf("reading file %s: %w", key, err)
	}
	if length > math.MaxInt64-offset {
		length = -1
	}
	r := &reader{files: f, conn: conn, key: key, object: object, pos: offset, end: math.MaxInt64}
	if length >= 0 {
		r.end = offset + length
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if length == 0 {
		err = r.openNothing()
	} else {
		err = r.open()
	}
	if err != nil {
		r.cancel()
		return nil, fmt.Errorf("reading file %s: %w", key, f.explain(err))
	}
	return r, nil
}

// reader reads a range of a content. When its connection breaks, it continues on another
// one.
type reader struct {
	files  *Files
	conn   *connection
	key    string
	object string
	ctx    context.Context
	cancel context.CancelFunc

	// pos is the position of the next Read and end the end of the range, in
	// bytes from the start of the content. end is the requested end before the
	// first response, and the actual one after it.
	pos, end int64
	etag     string // as the first answer has it, "" before that

	body     io.ReadCloser // nil if no response is open
	failures int           // since the last byte
	closed   bool
}

// open requests the remaining range.
func (r *reader) open() error {
	var opts minio.GetObjectOptions
	switch {
	case r.end < math.MaxInt64:
		opts.Set("Range", fmt.Sprintf("bytes=%d-%d", r.pos, r.end-1))
	case r.pos > 0:
		opts.Set("Range", fmt.Sprintf("bytes=%d-", r.pos))
	}
	if r.etag != "" {
		opts.Set("If-Match", `"`+r.etag+`"`)
	}
	body, info, header, err := r.get(opts)
	if isBeyond(err) && r.etag == "" {
		r.end = r.pos
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.accept(info, header); err != nil {
		body.Close()
		return err
	}
	r.body = body
	return nil
}

func (r *reader) get(opts minio.GetObjectOptions) (body io.ReadCloser, info minio.ObjectInfo, header http.Header, err error) {
	err = r.files.retry(r.ctx, func(ctx context.Context) (err error) {
		body, info, header, err = r.conn.GetObject(ctx, r.files.cfg.Bucket, r.object, opts)
		return err
	})
	return body, info, header, err
}

// isBeyond reports whether a range begins after the end.
func isBeyond(err error) bool {
	return isStatus(err, http.StatusRequestedRangeNotSatisfiable) || isCode(err, minio.InvalidRange)
}

// accept checks that the response has the requested range and records its end.
func (r *reader) accept(info minio.ObjectInfo, header http.Header) error {
	var first, last int64
	if span := header.Get("Content-Range"); span != "" {
		if _, err := fmt.Sscanf(span, "bytes %d-%d/", &first, &last); err != nil {
			return fmt.Errorf("the service gave the range %q", span)
		}
		if info.Size != last-first+1 {
			return fmt.Errorf("the service gave %d bytes for the range %q", info.Size, span)
		}
	} else {
		if info.Size < 0 {
			return errors.New("the response has no length of the content")
		}
		last = info.Size - 1
	}
	end := min(last+1, r.end)
	if first != r.pos || r.etag != "" && end != r.end {
		return fmt.Errorf("got bytes %[2]d to %[3]d from the service, want them from %[1]d", r.pos, first, last)
	}
	r.end, r.etag = end, info.ETag
	return nil
}

// openNothing only looks whether the content exists: a range cannot be empty.
func (r *reader) openNothing() error {
	var opts minio.GetObjectOptions
	opts.Set("Range", "bytes=0-0")
	body, _, _, err := r.get(opts)
	if isBeyond(err) {
		return nil
	}
	if err == nil {
		body.Close()
	}
	return err
}

// Read returns an error that wraps ErrUnavailable if the service could not be
// read from for too long.
func (r *reader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, fmt.Errorf("reading file %s: %w", r.key, os.ErrClosed)
	}
	for {
		if r.pos >= r.end {
			return 0, io.EOF
		}
		if len(p) == 0 {
			return 0, nil
		}
		if err := r.ready(); err != nil {
			return 0, fmt.Errorf("reading file %s at byte %d: %w", r.key, r.pos, err)
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.pos)])
		if n > 0 {
			r.pos += int64(n)
			r.failures = 0
		}
		if err != nil {
			r.drop()
		}
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		if err := r.broke(err); err != nil {
			return 0, fmt.Errorf("reading file %s at byte %d: %w", r.key, r.pos, err)
		}
	}
}

// ready opens a response if none is open.
func (r *reader) ready() error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.body != nil {
		return nil
	}
	err := r.open()
	switch {
	case isRefused(err):
		return errors.New("it was changed while it was read")
	case isCode(err, codeNoSuchKey):
		return fmt.Errorf("%w: it was deleted while it was read", batch.ErrNotFound)
	}
	return r.files.explain(err)
}

// broke waits before another attempt, or returns an error after the last one.
func (r *reader) broke(err error) error {
	if ended := r.ctx.Err(); ended != nil {
		return ended
	}
	r.failures++
	if r.failures >= r.files.cfg.Attempts {
		return fmt.Errorf("%w: %s", batch.ErrUnavailable, r.files.redact(err.Error()))
	}
	if !r.files.wait(r.ctx, r.failures) {
		return r.ctx.Err()
	}
	return nil
}

func (r *reader) drop() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// Close ends the reading.
func (r *reader) Close() error {
	r.closed = true
	r.cancel()
	r.drop()
	return nil
}
