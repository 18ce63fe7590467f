package s3test

import (
	"bytes"
	"crypto/md5" //nolint:gosec // S3's checksum
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// upload is a multipart upload that has not ended.
type upload struct {
	key   string
	begun time.Time
	meta  http.Header
	parts map[int][]byte // by number
}

// maxParts is the largest number of a part.
const maxParts = 10_000

var (
	errPart      = &failure{http.StatusBadRequest, "InvalidPart", "One or more of the specified parts could not be found."}
	errPartOrder = &failure{http.StatusBadRequest, "InvalidPartOrder", "The list of parts was not in ascending order."}
	errTooSmall  = &failure{http.StatusBadRequest, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size"}
	errXML       = &failure{http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed"}
	errArgument  = &failure{http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive"}
)

func (b *Bucket) begin(w http.ResponseWriter, r *http.Request, key string) *failure {
	b.begun++
	id := fmt.Sprintf("upload-%08d", b.begun)
	b.uploads[id] = &upload{key: key, begun: b.now(), meta: metaOf(r), parts: make(map[int][]byte)}
	writeXML(w, struct {
		XMLName     struct{} `xml:"InitiateMultipartUploadResult"`
		Bucket, Key string
		ID          string `xml:"UploadId"`
	}{Bucket: b.name, Key: key, ID: id})
	return nil
}

func (b *Bucket) putPart(w http.ResponseWriter, query url.Values, body []byte) *failure {
	number, err := strconv.Atoi(query.Get("partNumber"))
	if err != nil || number < 1 || number > maxParts {
		return errArgument
	}
	b.uploads[query.Get("uploadId")].parts[number] = body
	w.Header().Set("ETag", etagOf(body))
	return nil
}

// complete makes an object of the listed parts.
func (b *Bucket) complete(w http.ResponseWriter, r *http.Request, id string, body []byte) *failure {
	var request struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if xml.Unmarshal(body, &request) != nil || len(request.Part) == 0 {
		return errXML
	}
	u := b.uploads[id]
	var content bytes.Buffer
	sums := md5.New() //nolint:gosec // S3's checksum
	for i, p := range request.Part {
		part, ok := u.parts[p.PartNumber]
		sum := md5.Sum(part) //nolint:gosec // S3's checksum
		switch {
		case !ok || `"`+hex.EncodeToString(sum[:])+`"` != quoted(p.ETag):
			return errPart
		case i > 0 && p.PartNumber <= request.Part[i-1].PartNumber:
			return errPartOrder
		case i < len(request.Part)-1 && len(part) < MinPartSize:
			return errTooSmall
		}
		content.Write(part)
		sums.Write(sum[:])
	}
	if err := b.mayWrite(r, u.key); err != nil {
		return err
	}
	etag := fmt.Sprintf(`"%x-%d"`, sums.Sum(nil), len(request.Part))
	b.objects[u.key] = object{content: content.Bytes(), etag: etag, modified: b.now(), meta: u.meta}
	delete(b.uploads, id)
	writeXML(w, struct {
		XMLName           struct{} `xml:"CompleteMultipartUploadResult"`
		Bucket, Key, ETag string
	}{Bucket: b.name, Key: u.key, ETag: etag})
	return nil
}

func quoted(etag string) string {
	if len(etag) > 0 && etag[0] == '"' {
		return etag
	}
	return `"` + etag + `"`
}

func writeXML(w io.Writer, v any) {
	_, _ = io.WriteString(w, xml.Header)
	if err := xml.NewEncoder(w).Encode(v); err != nil {
		panic(err) // the types can be encoded; a client that went away is another error
	}
}
