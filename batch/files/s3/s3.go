package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/tidegate/tidegate/batch"
)

// Files is a batch.Files in a bucket.
type Files struct {
	cfg     Config // complete after Open
	secrets []string

	now     func() time.Time
	backoff func(attempt int) time.Duration // before the attempt after it
	page    int                             // number of objects or uploads in one page of a listing

	conn    atomic.Pointer[connection] // nil when not open
	buffers sync.Pool                  // of *[]byte, each one part long
	probe   probe

	// md5ETags is set if the last probe found that ETags of this bucket are MD5
	// sums.
	md5ETags atomic.Bool
	// unconditional is set if the service does not support If-None-Match for
	// writes.
	unconditional atomic.Bool
}

// connection is the state of open Files.
type connection struct {
	minio.Core
	transport *http.Transport
	watched   *steady
}

var _ batch.Files = (*Files)(nil)

// maxPage is the largest page of a listing.
const maxPage = 1000

// New makes Files without speaking to the service.
func New(cfg Config) *Files {
	f := &Files{cfg: cfg, now: time.Now, backoff: backoff, page: maxPage}
	f.probe.turn = make(chan struct{}, 1)
	f.buffers.New = func() any { return new(make([]byte, f.cfg.PartSize)) }
	return f
}

// Identity identifies the location of contents, without secrets.
func (f *Files) Identity() string { return f.cfg.Identity() }

// Open checks the settings, finds credentials and writes a small object.
func (f *Files) Open(ctx context.Context) error {
	cfg, err := f.cfg.complete()
	if err != nil {
		return fmt.Errorf("opening S3 files: %w", err)
	}
	f.cfg, f.secrets = cfg, secrets(cfg)
	conn, err := connect(ctx, cfg)
	if err != nil {
		return fmt.Errorf("opening S3 files: %w", err)
	}
	f.conn.Store(conn)
	if err := f.Ping(ctx); err != nil {
		if !errors.Is(err, batch.ErrUnavailable) { // a key or a bucket may be made later
			err = fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
		}
		return errors.Join(fmt.Errorf("opening S3 files: %w", err), f.Close())
	}
	return nil
}

func connect(ctx context.Context, cfg Config) (*connection, error) {
	transport, err := newTransport(cfg)
	if err != nil {
		return nil, err
	}
	watched := &steady{base: transport, timeout: cfg.Timeout}
	creds, err := findCredentials(ctx, cfg, watched)
	if err != nil {
		transport.CloseIdleConnections()
		return nil, err
	}
	endpoint, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupAuto
	switch {
	case cfg.PathStyle:
		lookup = minio.BucketLookupPath
	case cfg.VirtualHost:
		lookup = minio.BucketLookupDNS
	}
	core, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds:        creds,
		Secure:       endpoint.Scheme == "https",
		Transport:    watched,
		Region:       cfg.Region,
		BucketLookup: lookup,
		MaxRetries:   1, // the driver retries itself, because it knows which requests can be repeated
	})
	if err != nil {
		return nil, err
	}
	core.SetAppInfo("tidegate", "1")
	return &connection{*core, transport, watched}, nil
}

// Close closes idle connections. Running reads and writes continue.
func (f *Files) Close() error {
	if conn := f.conn.Swap(nil); conn != nil {
		conn.transport.CloseIdleConnections()
	}
	return nil
}

// open returns the connection, or errClosed if there is none.
func (f *Files) open() (*connection, error) {
	conn := f.conn.Load()
	if conn == nil {
		return nil, errClosed
	}
	return conn, nil
}

// Delete removes a content.
func (f *Files) Delete(ctx context.Context, key string) error {
	object, err := f.object(key)
	if err != nil {
		return err
	}
	conn, err := f.open()
	if err == nil {
		err = f.retry(ctx, func(ctx context.Context) error { return f.remove(ctx, conn, object) })
	}
	if err != nil {
		return fmt.Errorf("deleting file %s: %w", key, f.explain(err))
	}
	return nil
}

func (f *Files) remove(ctx context.Context, conn *connection, object string) error {
	err := conn.RemoveObject(ctx, f.cfg.Bucket, object, minio.RemoveObjectOptions{})
	if isCode(err, codeNoSuchKey) {
		return nil
	}
	return err
}

// validKey excludes paths, and names such as .ping that the driver uses. 200 is the
// limit of batch/files/local.
var validKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// object names the object that is the content of a key.
func (f *Files) object(key string) (string, error) {
	if !validKey.MatchString(key) {
		return "", fmt.Errorf("file key %q is not made of letters, digits, _ and -", key)
	}
	return f.cfg.Prefix + key, nil
}

// encryption returns the encryption of new objects, nil for none.
func (f *Files) encryption() (encrypt.ServerSide, error) {
	switch f.cfg.SSE {
	case SSES3:
		return encrypt.NewSSE(), nil
	case SSEKMS:
		return encrypt.NewSSEKMS(f.cfg.KMSKeyID, nil)
	}
	return nil, nil
}
