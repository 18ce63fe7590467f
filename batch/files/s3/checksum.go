package s3

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"

	"github.com/minio/minio-go/v7"
)

// checksum is an MD5 sum, which every service supports for uploads.
type checksum []byte

func checksumOf(b []byte) checksum {
	h := minio.ChecksumMD5.Hasher()
	h.Write(b)
	return h.Sum(nil)
}

// header is the value of Content-MD5.
func (c checksum) header() string { return base64.StdEncoding.EncodeToString(c) }

func (c checksum) etag() string { return hex.EncodeToString(c) }

var md5ETag = regexp.MustCompile(`^[0-9a-f]{32}$`)

// checkETag returns errDamaged if the service stored other bytes than it was sent. ETags
// of objects with KMS and those of some services are not checksums; they are ignored.
func (f *Files) checkETag(etag string, sum checksum) error {
	if f.md5ETags.Load() && md5ETag.MatchString(etag) && etag != sum.etag() {
		return errDamaged
	}
	return nil
}
