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
	// maxParts is what services take in one upload.
	maxParts = 10_000
	// abortTimeout bounds the taking back of one content.
	abortTimeout = 30 * time.Second
)

// writer is a content on its way. It is used by one goroutine, and runs one of
// its own while a part is on its way.
type writer struct {
	files  *Files
	conn   *connection
	key    string
	object string
	// id is stored with the object, so that an object can be told to be this
	// writer's after the answer to its upload was lost.
	id string

	// ctx ends all requests but those of Abort. It follows the context of
	// Create at first and that of Commit then; unfollow ends that.
	ctx      context.Context
	cancel   context.CancelCauseFunc
	unfollow func() bool

	// Buffers are from the pool, one part long, and change places between two
	// parts. Only the first grows to that length.
	buf    *[]byte // being filled; nil before the first byte
	n      int     // how much of it is filled
	flying *[]byte // of the part on its way, or of the last one; nil before the first
	size   int64
	sent   int   // how many parts were begun
	err    error // of the first Write that failed

	flight sync.WaitGroup // of the part on its way
	// What follows belongs to the flight while there is one.
	uploadID string
	parts    []minio.CompletePart
	failed   error
	strays   bool // an upload may have begun whose answer was lost

	unsure bool // the object may be there
	ended  bool
}

// Create begins a content. Nothing is sent before there is more than one part
// of it. ctx must live until Commit or Abort: it ends what Write sends.
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

// begin begins what is to be an object.
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

// firstBuffer is what a writer begins with, in bytes, and growth by how many
// times it is made larger when it is full.
const (
	firstBuffer = 64 << 10
	growth      = 4
)

// grow makes room for more of the first part. A whole part from the beginning
// would make small contents, of which many may be on their way, cost as much
// memory as large ones.
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

// release returns the buffers back.
func (w *writer) release() {
	for _, buf := range []*[]byte{w.buf, w.flying} {
		if buf != nil && int64(len(*buf)) == w.files.cfg.PartSize {
			w.files.buffers.Put(buf)
		}
	}
	w.buf, w.flying = nil, nil
}

// send waits for the part on its way, sends the one that is full, and has the
// next written into the buffer that became free.
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

// land waits for the part on its way.
func (w *writer) land() error {
	w.flight.Wait()
	return w.failed
}

// Commit sends what is left and makes the content visible. After an error
// nothing is left.
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

// end frees what the writer holds; no part is on its way.
func (w *writer) end() {
	w.ended = true
	w.unfollow()
	w.cancel(nil)
	w.release()
}

// Abort takes back what was uploaded.
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
	if found != ours { // ours may be there and damaged
		return err
	}
	return f.retry(ctx, func(ctx context.Context) error { return f.remove(ctx, w.conn, w.object) })
}
