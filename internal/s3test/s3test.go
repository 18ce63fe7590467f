// Package s3test runs an S3 service in memory for tests, on a loopback port.
package s3test

import (
	"net/http/httptest"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// What lets a client in. The service takes any, but clients want to have some.
const (
	AccessKey = "AKIATIDEGATE"
	SecretKey = "very-secret-key-of-the-test"
	Bucket    = "contents"
)

// Server is a service with one empty Bucket.
type Server struct {
	Endpoint string // http://127.0.0.1:PORT
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
	return &Server{Endpoint: listener.URL}
}

// URL is that of a prefix in the bucket, as `files s3` takes it.
func (s *Server) URL(prefix string) string {
	return "s3://" + Bucket + "/" + prefix + "?endpoint=" + s.Endpoint
}
