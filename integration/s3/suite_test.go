// Package s3 runs the suite of the drivers for contents with the S3 driver and an S3
// service in memory that is not ours. The driver's own tests use one of this project, whose
// faults and clock they control.
package s3

import (
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/filestest"
	"github.com/tidegate/tidegate/batch/files/s3"
	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) {
	minio.DefaultRetryUnit = time.Millisecond // it waits even after the only attempt
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, prefix string) batch.Files {
	t.Helper()
	f := s3.New(s3.Config{
		Endpoint: tidegatetest.StartS3(t).Endpoint, Bucket: tidegatetest.S3Bucket, Prefix: prefix,
		AccessKey: tidegatetest.S3AccessKey, SecretKey: tidegatetest.S3SecretKey, PartSize: s3.MinPartSize, Timeout: 10 * time.Second,
	})
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestSuite(t *testing.T) {
	filestest.Run(t, func(t *testing.T) batch.Files { return open(t, "tide/gate") })
}

func TestSuiteWithoutPrefix(t *testing.T) {
	filestest.Run(t, func(t *testing.T) batch.Files { return open(t, "") })
}
