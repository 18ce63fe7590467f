package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// staleAge is the age after which an unfinished upload counts as left by a crash.
const staleAge = 24 * time.Hour

// List visits the contents page by page, and then aborts uploads that a crash
// left.
func (f *Files) List(ctx context.Context, visit func(key string, modified time.Time) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := f.open()
	if err != nil {
		return err
	}
	l := listing{files: f, conn: conn, visit: visit}
	for failures := 0; ; {
		before := l.after
		err := l.run(ctx)
		if err == nil {
			break
		}
		if l.stopped {
			return err
		}
		if ended := ctx.Err(); ended != nil {
			return ended
		}
		if l.after != before {
			failures = 0
		}
		failures++
		if failures >= f.cfg.Attempts || !isPassing(err) || !f.wait(ctx, failures) {
			return fmt.Errorf("listing files: %w", f.explain(err))
		}
	}
	if err := f.abortStale(ctx, conn); err != nil {
		return fmt.Errorf("removing unfinished uploads: %w", f.explain(err))
	}
	return nil
}

// listing iterates over the objects; after an error it can continue.
type listing struct {
	files *Files
	conn  *connection
	visit func(key string, modified time.Time) error

	after   string // the last object visited
	stopped bool   // visit failed
}

func (l *listing) run(ctx context.Context) error {
	f := l.files
	objects := l.conn.ListObjectsIter(ctx, f.cfg.Bucket, minio.ListObjectsOptions{
		Prefix: f.cfg.Prefix, StartAfter: l.after, MaxKeys: f.page, FetchOwner: new(false),
	})
	for o := range objects {
		if o.Err != nil {
			return o.Err
		}
		// Other names are not contents, such as those in subdirectories.
		key := strings.TrimPrefix(o.Key, f.cfg.Prefix)
		if !validKey.MatchString(key) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		l.after = o.Key
		if err := l.visit(key, o.LastModified); err != nil {
			l.stopped = true
			return err
		}
	}
	return ctx.Err() // at which the objects just end
}

// abortStale aborts uploads below the prefix that began long ago. Services that
// do not list uploads clean up by themselves.
func (f *Files) abortStale(ctx context.Context, conn *connection) error {
	deadline := f.now().Add(-staleAge)
	err := f.eachUpload(ctx, conn, f.cfg.Prefix, func(u minio.ObjectMultipartInfo) error {
		if !u.Initiated.Before(deadline) || !validKey.MatchString(strings.TrimPrefix(u.Key, f.cfg.Prefix)) {
			return nil
		}
		return f.abortUpload(ctx, conn, u.Key, u.UploadID)
	})
	if isStatus(err, http.StatusNotImplemented) || isStatus(err, http.StatusMethodNotAllowed) || isCode(err, codeNoSuchUpload) {
		return nil
	}
	return err
}

var errEndless = errors.New("the service's listing of uploads does not advance")

// eachUpload visits unfinished uploads of objects that begin with prefix, except those
// in subdirectories.
func (f *Files) eachUpload(ctx context.Context, conn *connection, prefix string, visit func(minio.ObjectMultipartInfo) error) error {
	var object, id string // markers
	for {
		var page minio.ListMultipartUploadsResult
		err := f.retry(ctx, func(ctx context.Context) (err error) {
			page, err = conn.ListMultipartUploads(ctx, f.cfg.Bucket, prefix, object, id, "/", f.page)
			return err
		})
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			if err := visit(u); err != nil {
				return err
			}
		}
		if !page.IsTruncated {
			return nil
		}
		if page.NextKeyMarker == object && page.NextUploadIDMarker == id {
			return errEndless
		}
		object, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// abortUpload aborts an upload. A missing upload is not an error.
func (f *Files) abortUpload(ctx context.Context, conn *connection, object, id string) error {
	err := f.retry(ctx, func(ctx context.Context) error {
		return conn.AbortMultipartUpload(ctx, f.cfg.Bucket, object, id)
	})
	if isCode(err, codeNoSuchUpload) {
		return nil
	}
	return err
}
