package s3

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	// pingName is an object below the prefix that cannot be a key.
	pingName    = ".ping"
	pingContent = "tidegate\n"
	// How long the result of a probe is reused. Pings are frequent, and writes cost
	// money.
	goodAnswer = 5 * time.Second
	badAnswer  = 2 * time.Second
)

// probe is the result of the last test write.
type probe struct {
	turn chan struct{} // held by the running probe

	at  time.Time // guarded by turn; zero: never
	err error     // guarded by turn
}

// Ping writes the object .ping below the prefix, nine bytes long. If it did so in the
// last 5 seconds (2 after a failure), it returns the same result again. Only a write
// shows that the bucket exists, that the credentials permit writes, and that there is
// space.
func (f *Files) Ping(ctx context.Context) error {
	conn, err := f.open()
	if err != nil {
		return err
	}
	select {
	case f.probe.turn <- struct{}{}:
		defer func() { <-f.probe.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	holds := goodAnswer
	if f.probe.err != nil {
		holds = badAnswer
	}
	if !f.probe.at.IsZero() && f.now().Sub(f.probe.at) < holds {
		return f.probe.err
	}
	err = f.retry(ctx, func(ctx context.Context) error { return f.putProbe(ctx, conn) })
	if err != nil {
		err = fmt.Errorf("probing bucket: %w", f.explain(err))
	}
	if ctx.Err() != nil {
		return err // applies only to this caller
	}
	f.probe.at, f.probe.err = f.now(), err
	return err
}

func (f *Files) putProbe(ctx context.Context, conn *connection) error {
	sse, err := f.encryption()
	if err != nil {
		return err
	}
	content := []byte(pingContent)
	sum := checksumOf(content)
	info, err := conn.PutObject(ctx, f.cfg.Bucket, f.cfg.Prefix+pingName, bytes.NewReader(content), int64(len(content)), sum.header(), "",
		minio.PutObjectOptions{ServerSideEncryption: sse, DisableContentSha256: true})
	if err == nil {
		f.md5ETags.Store(info.ETag == sum.etag())
	}
	return err
}
