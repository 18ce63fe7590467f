package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"
)

// writerHeader is the metadata with the id of an object's writer.
const writerHeader = "X-Amz-Meta-Tidegate-Writer"

// options returns the options of a new object.
func (w *writer) options() (minio.PutObjectOptions, error) {
	sse, err := w.files.encryption()
	return minio.PutObjectOptions{
		ServerSideEncryption: sse,
		UserMetadata:         map[string]string{writerHeader: w.id},
		DisableContentSha256: true, // Content-MD5 is sent
	}, err
}

// upload sends one part, and begins the upload with the first.
func (w *writer) upload(number int, content []byte) error {
	if w.uploadID == "" {
		if err := w.begin(); err != nil {
			return err
		}
	}
	f := w.files
	sum := checksumOf(content)
	return f.retry(w.ctx, func(ctx context.Context) error {
		part, err := w.conn.PutObjectPart(ctx, f.cfg.Bucket, w.object, w.uploadID, number, bytes.NewReader(content), int64(len(content)),
			minio.PutObjectPartOptions{Md5Base64: sum.header(), DisableContentSha256: true})
		if err == nil {
			err = f.checkETag(part.ETag, sum)
		}
		if err == nil {
			w.parts = append(w.parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
		}
		return err
	})
}

func (w *writer) begin() error {
	opts, err := w.options()
	if err != nil {
		return err
	}
	return w.files.retry(w.ctx, func(ctx context.Context) error {
		id, err := w.conn.NewMultipartUpload(ctx, w.files.cfg.Bucket, w.object, opts)
		if err != nil && (isPassing(err) || ctx.Err() != nil) {
			w.strays = true
		}
		if err == nil && id == "" {
			return errors.New("the service began an upload and did not name it")
		}
		w.uploadID = id
		return err
	})
}

// putWhole stores a content that is one part at most.
func (w *writer) putWhole() error {
	var content []byte
	if w.buf != nil {
		content = (*w.buf)[:w.n]
	}
	opts, err := w.options()
	if err != nil {
		return err
	}
	f := w.files
	sum := checksumOf(content)
	return w.place(opts, func(ctx context.Context, opts minio.PutObjectOptions) error {
		info, err := w.conn.PutObject(ctx, f.cfg.Bucket, w.object, bytes.NewReader(content), int64(len(content)), sum.header(), "", opts)
		if err != nil {
			return err
		}
		if err = f.checkETag(info.ETag, sum); err == nil {
			return nil
		}
		if removing := f.remove(ctx, w.conn, w.object); removing != nil {
			w.unsure = true // another attempt must not count this as a success
			return fmt.Errorf("removing damaged content: %w", f.explain(removing))
		}
		return err
	})
}

// complete makes an object of the parts, and looks whether it is all there.
func (w *writer) complete() error {
	f := w.files
	err := w.place(minio.PutObjectOptions{}, func(ctx context.Context, opts minio.PutObjectOptions) error {
		// A success with an error in its body is an error to minio-go, too.
		_, err := w.conn.CompleteMultipartUpload(ctx, f.cfg.Bucket, w.object, w.uploadID, w.parts, opts)
		return err
	})
	if err != nil {
		return err
	}
	w.unsure = true // until it was seen to be whole
	found, err := w.look(w.ctx)
	if err == nil && found != ours {
		err = errors.New("the service completed the upload but does not have the content")
	}
	return err
}

// place sends the request that makes the content visible. It fails if the key already
// exists. If a response is lost, the object shows whether the request was executed.
func (w *writer) place(opts minio.PutObjectOptions, send func(context.Context, minio.PutObjectOptions) error) error {
	err := w.files.retry(w.ctx, func(ctx context.Context) error { return w.placeOnce(ctx, opts, send) })
	if err == nil || errors.Is(err, errExists) {
		return err
	}
	lost := isPassing(err) || isRefused(err) || isCode(err, codeNoSuchUpload)
	w.unsure = w.unsure || w.ctx.Err() != nil || lost
	if !lost || errors.Is(err, errDamaged) {
		return err
	}
	found, looking := w.look(w.ctx)
	switch {
	case looking != nil || found == nothing && !isRefused(err):
		return err
	case found == ours:
		return nil
	}
	w.unsure = false
	return errExists
}

func (w *writer) placeOnce(ctx context.Context, opts minio.PutObjectOptions, send func(context.Context, minio.PutObjectOptions) error) error {
	f := w.files
	if f.unconditional.Load() {
		found, err := w.look(ctx)
		switch {
		case err != nil:
			return err
		case found == another:
			return errExists
		case found == ours: // an earlier attempt's answer was lost
			return nil
		}
		return send(ctx, opts)
	}
	conditional := opts
	conditional.SetMatchETagExcept("*")
	err := send(ctx, conditional)
	if isStatus(err, http.StatusNotImplemented) {
		f.unconditional.Store(true)
		return w.placeOnce(ctx, opts, send)
	}
	return err
}

// presence is the state of the key of a writer.
type presence int

const (
	nothing presence = iota
	ours
	another
)

// look reads the state of the object. It fails if the writer's object has the wrong
// length.
func (w *writer) look(ctx context.Context) (presence, error) {
	var info minio.ObjectInfo
	err := w.files.retry(ctx, func(ctx context.Context) (err error) {
		info, err = w.conn.StatObject(ctx, w.files.cfg.Bucket, w.object, minio.StatObjectOptions{})
		return err
	})
	switch {
	case isStatus(err, http.StatusNotFound):
		return nothing, nil
	case err != nil:
		return nothing, err
	case info.Metadata.Get(writerHeader) != w.id:
		return another, nil
	case info.Size != w.size:
		return ours, fmt.Errorf("%w: %d bytes were written and %d are stored", errDamaged, w.size, info.Size)
	}
	return ours, nil
}
