package tidegatetest

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Credentials. The service accepts any, but clients require some.
const (
	S3AccessKey = "AKIATIDEGATE"
	S3SecretKey = "very-secret-key-of-the-test"
	S3Bucket    = "contents"
)

// S3Server is an S3 service in memory with one empty bucket, on a loopback port.
type S3Server struct {
	Endpoint string // http://127.0.0.1:PORT

	backend *s3mem.Backend
}

// StartS3 starts a service that ends with the test.
func StartS3(tb testing.TB) *S3Server {
	tb.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(S3Bucket); err != nil {
		tb.Fatal(err)
	}
	listener := httptest.NewServer(gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0)).Server())
	tb.Cleanup(listener.Close)
	return &S3Server{listener.URL, backend}
}

// Objects are the names of all below a prefix, without it.
func (s *S3Server) Objects(tb testing.TB, prefix string) []string {
	tb.Helper()
	below := prefix + "/"
	list, err := s.backend.ListBucket(S3Bucket, new(gofakes3.NewPrefix(&below, nil)), gofakes3.ListBucketPage{})
	if err != nil {
		tb.Fatal(err)
	}
	names := make([]string, len(list.Contents))
	for i, o := range list.Contents {
		names[i] = strings.TrimPrefix(o.Key, below)
	}
	return names
}

// URL returns the URL of a prefix in the bucket, as in `files s3`.
func (s *S3Server) URL(prefix string) string {
	return "s3://" + S3Bucket + "/" + prefix + "?endpoint=" + s.Endpoint
}
