package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Content reads a content from any offset, by ranges. It is not safe for concurrent use.
type Content struct {
	// ctx ends all reading; io.Reader leaves no other way to pass it.
	ctx   context.Context
	files Files
	key   string
	size  int64

	offset int64         // of the next Read
	src    io.ReadCloser // nil when nothing is open
	at     int64         // where src is
	err    error         // the first of reading, save EOF
}

// OpenContent opens a content of size bytes. ErrNotFound means that it does not
// exist. ctx bounds all reading.
func OpenContent(ctx context.Context, files Files, key string, size int64) (*Content, error) {
	c := &Content{ctx: ctx, files: files, key: key, size: size}
	if err := c.open(); err != nil {
		return nil, err
	}
	return c, nil
}

// OpenFile opens the content of a file, or returns ErrNotFound. ctx bounds all
// reading.
func OpenFile(ctx context.Context, store FileStore, files Files, tenant, id string) (File, *Content, error) {
	f, err := store.File(ctx, tenant, id)
	if err != nil {
		return File{}, nil, err
	}
	c, err := OpenContent(ctx, files, f.Key, f.Bytes)
	if !errors.Is(err, ErrNotFound) {
		return f, c, err
	}
	// The file was deleted meanwhile, or its content is lost.
	if _, gone := store.File(ctx, tenant, id); gone != nil {
		return File{}, nil, gone
	}
	return File{}, nil, fmt.Errorf("content %s of file %s is lost", f.Key, id) // the file itself is found
}

func (c *Content) open() error {
	src, err := c.files.Read(c.ctx, c.key, c.offset, -1)
	if err != nil {
		return fmt.Errorf("opening content: %w", err)
	}
	c.src, c.at = src, c.offset
	return nil
}

// Read continues at the end of the last Read or Seek.
func (c *Content) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil && !errors.Is(err, io.EOF) && c.err == nil {
		c.err = err
	}
	return n, err
}

func (c *Content) read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	if c.offset >= c.size {
		return 0, io.EOF
	}
	if c.src != nil && c.at != c.offset {
		if err := c.Close(); err != nil {
			return 0, err
		}
	}
	if c.src == nil {
		if err := c.open(); err != nil {
			return 0, err
		}
	}
	n, err := c.src.Read(p[:min(int64(len(p)), c.size-c.offset)])
	c.offset += int64(n)
	c.at = c.offset
	if errors.Is(err, io.EOF) && c.offset < c.size {
		err = fmt.Errorf("reading content: it ends at byte %d of %d: %w", c.offset, c.size, io.ErrUnexpectedEOF)
	}
	return n, err
}

// Err returns the first error of reading. Callers such as http.ServeContent drop it.
func (c *Content) Err() error { return c.err }

// Size returns the length of the content in bytes.
func (c *Content) Size() int64 { return c.size }

// Seek sets where the next Read begins. It reads nothing.
func (c *Content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += c.offset
	case io.SeekEnd:
		offset += c.size
	default:
		return 0, fmt.Errorf("seeking in content: unknown whence %d", whence)
	}
	if offset < 0 {
		return 0, errors.New("seeking in content: before its start")
	}
	c.offset = offset
	return offset, nil
}

// Close closes the source. A later Read opens it again.
func (c *Content) Close() error {
	if c.src == nil {
		return nil
	}
	err := c.src.Close()
	c.src = nil
	return err
}
