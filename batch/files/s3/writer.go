package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

const (
	// maxParts is the largest number of parts in one upload.
	maxParts = 10_000
	// abortTimeout bounds the taking back of one content.
	abortTimeout = 30 * time.Second
)

// writer writes one content. It is used by one goroutine, and starts another while a part
// is being sent.
type writer struct {
	files  *Files
	conn   *connection
	key    string
	object string
	// id is stored with the object, so that the writer recognizes its object
	// after the response to its upload was lost.
	id string

	// ctx ends all requests except those of Abort. It follows the context of
	// Create at first, and then that of Commit; unfollow ends this.
	ctx      context.Context
	cancel   context.CancelCauseFunc
	unfollow func() bool

	// Buffers are from the pool, one part long, and change places between two
	// parts. Only the first grows to that length.
	buf    *[]byte // being filled; nil before the first byte
	n      int     // number of bytes in it
	flying *[]byte // buffer of the part being sent, or of the last one; nil before the first
	size   int64
	sent   int   // number of parts that were started
	err    error // of the first Write that failed

	flight sync.WaitGroup // of the part being sent
	// The following fields are owned by the sending goroutine while it runs.
	uploadID string
	parts    []minio.CompletePart
	failed   error
	strays   bool // an upload may have begun whose answer was lost

	unsure bool // the object may exist
	ended  bool
}

// Create begins a content. No request is sent before there is more than one part of it.
// ctx must not end before Commit or Abort, because its end stops the requests of Write.
func (f *Files) Create(ctx context.Context, key string) (batch.FileWriter, error) {
	object, err := f.object(key)
	if err != nil {
		return nil, err
	}
	conn, err := f.open()
	if err != nil {
		return nil, fmt.Errorf("creating file %s: %w", key, err)
	}
	return f.begin(ctx, conn, key, object), nil
}

// begin returns a writer for an object.
func (f *Files) begin(ctx context.Context, conn *connection, key, object string) *writer {
	w := &writer{files: f, conn: conn, key: key, object: object, id: openai.NewID("write-")}
	w.ctx, w.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	w.follow(ctx)
	return w
}

// follow ends w.ctx with ctx.
func (w *writer) follow(ctx context.Context) {
	if w.unfollow != nil {
		w.unfollow()
	}
	w.unfollow = context.AfterFunc(ctx, func() { w.cancel(ctx.Err()) })
}

// Write fills the part and sends it when more follows.
func (w *writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, fmt.Errorf("writing file %s: it has ended", w.key)
	}
	if w.err != nil {
		return 0, w.err
	}
	written := 0
	for written < len(p) {
		switch {
		case w.buf == nil || w.n == len(*w.buf) && int64(w.n) < w.files.cfg.PartSize:
			w.grow()
		case w.n == len(*w.buf):
			if err := w.send(); err != nil {
				w.err = fmt.Errorf("writing file %s: %w", w.key, w.explain(err))
				return written, w.err
			}
		}
		n := copy((*w.buf)[w.n:], p[written:])
		w.n += n
		w.size += int64(n)
		written += n
	}
	return written, nil
}

// explain returns the reason why w.ctx ended in the place of the error that it
// led to.
func (w *writer) explain(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return w.files.explain(err)
}

// firstBuffer is the initial size of a writer's buffer, in bytes, and growth the factor by
// which it grows when it is full.
const (
	firstBuffer = 64 << 10
	growth      = 4
)

// grow enlarges the buffer of the first part. A buffer of a whole part from the beginning
// would use as much memory for small contents, which may be many, as for large ones.
func (w *writer) grow() {
	size := int64(max(firstBuffer, growth*w.n))
	var larger *[]byte
	if size < w.files.cfg.PartSize {
		larger = new(make([]byte, size))
	} else {
		larger = w.files.take()
	}
	if w.buf != nil {
		copy(*larger, (*w.buf)[:w.n])
	}
	w.buf = larger
}

func (f *Files) take() *[]byte {
	buf, _ := f.buffers.Get().(*[]byte)
	return buf
}

// release returns the buffers to the pool.
func (w *writer) release() {
	for _, buf := range []*[]byte{w.buf, w.flying} {
		if buf != nil && int64(len(*buf)) == w.files.cfg.PartSize {
			w.files.buffers.Put(buf)
		}
	}
	w.buf, w.flying = nil, nil
}

// send waits for the part being sent, sends the full one, and makes the free buffer the
// current one.
func (w *writer) send() error {
	if err := w.land(); err != nil {
		return err
	}
	if w.sent == maxParts {
		return fmt.Errorf("it is longer than %d parts of %d bytes; a larger part size is needed", maxParts, w.files.cfg.PartSize)
	}
	w.sent++
	number, full := w.sent, (*w.buf)[:w.n]
	w.flight.Go(func() { w.failed = w.upload(number, full) })
	if w.flying == nil {
		w.flying = w.files.take()
	}
	w.buf, w.flying, w.n = w.flying, w.buf, 0
	return nil
}

// land waits for the part being sent.
func (w *writer) land() error {
	w.flight.Wait()
	return w.failed
}

// Commit sends the last part and makes the content visible. After an error the content
// does not exist.
func (w *writer) Commit(ctx context.Context) error {
	if w.ended {
		return fmt.Errorf("committing file %s: it has ended", w.key)
	}
	err := w.err
	if err == nil {
		err = w.commit(ctx)
	}
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			err = ended
		}
		return errors.Join(fmt.Errorf("committing file %s: %w", w.key, w.explain(err)), w.abort(ctx))
	}
	w.end()
	return nil
}

func (w *writer) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.follow(ctx)
	if w.sent == 0 {
		return w.putWhole()
	}
	if err := w.land(); err != nil {
		return err
	}
	w.sent++ // the last part: a buffer that was taken is never left empty
	if w.sent > maxParts {
		return fmt.Errorf("it is longer than %d parts of %d bytes; a larger part size is needed", maxParts, w.files.cfg.PartSize)
	}
	if err := w.upload(w.sent, (*w.buf)[:w.n]); err != nil {
		return err
	}
	return w.complete()
}

// end releases the writer's resources. No part may be in transit.
func (w *writer) end() {
	w.ended = true
	w.unfollow()
	w.cancel(nil)
	w.release()
}

// Abort removes the uploaded parts.
func (w *writer) Abort() error {
	if w.ended {
		return nil
	}
	return w.abort(w.ctx)
}

// abort does not end with ctx.
func (w *writer) abort(ctx context.Context) error {
	w.cancel(context.Canceled)
	w.flight.Wait()
	w.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if err := w.takeBack(ctx); err != nil {
		return fmt.Errorf("removing unfinished file %s: %w", w.key, w.files.explain(err))
	}
	return nil
}

func (w *writer) takeBack(ctx context.Context) error {
	f := w.files
	if w.uploadID != "" {
		if err := f.abortUpload(ctx, w.conn, w.object, w.uploadID); err != nil {
			return err
		}
	}
	if w.strays {
		err := f.eachUpload(ctx, w.conn, w.object, func(u minio.ObjectMultipartInfo) error {
			if u.Key != w.object {
				return nil
			}
			return f.abortUpload(ctx, w.conn, u.Key, u.UploadID)
		})
		if err != nil && !isCode(err, codeNoSuchUpload) {
			return err
		}
	}
	if !w.unsure {
		return nil
	}
	found, err := w.look(ctx)
	if found != ours { // the writer's object may exist and be damaged
		return err
	}
	return f.retry(ctx, func(ctx context.Context) error { return f.remove(ctx, w.conn, w.object) })
}
