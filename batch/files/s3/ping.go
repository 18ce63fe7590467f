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
	// How long the answer of a probe holds. Pings come more often than a bucket
	// becomes full, and writes cost money.
	goodAnswer = 5 * time.Second
	badAnswer  = 2 * time.Second
)

// probe is the last look at whether contents can be written.
type probe struct {
	turn chan struct{} // held by the one who probes

	at  time.Time // guarded by turn; zero: never
	err error     // guarded by turn
}

// Ping writes the object .ping below the prefix, nine bytes long, unless that
// was done in the last 5 seconds (2 after a failure): then it gives the same
// answer. Only a write tells that the bucket exists, that the credentials may
// write, and that there is room.
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
		return err // says nothing about the next one who asks
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
