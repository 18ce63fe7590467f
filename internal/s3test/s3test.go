// Package s3test runs an S3 service in memory for tests, on a loopback port.
package s3test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Credentials. The service accepts any, but clients require some.
const (
	AccessKey = "AKIATIDEGATE"
	SecretKey = "very-secret-key-of-the-test"
	Bucket    = "contents"
)

// Server is a service with one empty Bucket.
type Server struct {
	Endpoint string // http://127.0.0.1:PORT

	backend *s3mem.Backend
}

// Start starts a service that ends with the test.
func Start(tb testing.TB) *Server {
	tb.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(Bucket); err != nil {
		tb.Fatal(err)
	}
	listener := httptest.NewServer(gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0)).Server())
	tb.Cleanup(listener.Close)
	return &Server{listener.URL, backend}
}

// Objects are the names of all below a prefix, without it.
func (s *Server) Objects(tb testing.TB, prefix string) []string {
	tb.Helper()
	below := prefix + "/"
	list, err := s.backend.ListBucket(Bucket, new(gofakes3.NewPrefix(&below, nil)), gofakes3.ListBucketPage{})
	if err != nil {
		tb.Fatal(err)
	}
	names := make([]string, len(list.Contents))
	for i, o := range list.Contents {
		names[i] = strings.TrimPrefix(o.Key, below)
	}
	return names
}

// URL is that of a prefix in the bucket, as `files s3` takes it.
func (s *Server) URL(prefix string) string {
	return "s3://" + Bucket + "/" + prefix + "?endpoint=" + s.Endpoint
}
