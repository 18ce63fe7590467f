// Package s3test is a bucket of S3 in memory, for tests of its clients: the requests that
// the driver of package s3 sends, with the conditions, checksums and errors of S3. It does
// not check signatures. The whole program and the driver's suite are also tested with an
// S3 that is not ours, in the module of the integration tests.
package s3test

import (
	"crypto/md5" //nolint:gosec // S3's checksum
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MinPartSize is the minimum size of a part that is not the last, in bytes.
const MinPartSize = 5 << 20

// Bucket is the service with one bucket.
type Bucket struct {
	name string
	now  func() time.Time

	mu      sync.Mutex
	objects map[string]object  // guarded by mu; by key
	uploads map[string]*upload // guarded by mu; by id
	begun   int                // guarded by mu; uploads so far
}

// object is never modified.
type object struct {
	content  []byte
	etag     string // quoted
	modified time.Time
	meta     http.Header // X-Amz-Meta-*
}

// New returns an empty bucket whose objects have the times of now.
func New(name string, now func() time.Time) *Bucket {
	return &Bucket{name: name, now: now, objects: make(map[string]object), uploads: make(map[string]*upload)}
}

// Object returns the content of a key, nil if there is none.
func (b *Bucket) Object(key string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[key]
	if !ok {
		return nil
	}
	return append([]byte{}, o.content...)
}

// Uploads returns the keys of all unfinished uploads, in the order of their beginnings.
func (b *Bucket) Uploads() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := make([]string, 0, len(b.uploads))
	for _, id := range slices.Sorted(maps.Keys(b.uploads)) {
		keys = append(keys, b.uploads[id].key)
	}
	return keys
}

// failure is an error response.
type failure struct {
	status        int
	code, message string
}

func (f *failure) Error() string { return f.code }

var (
	errNoBucket   = &failure{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"}
	errNoKey      = &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	errNoUpload   = &failure{http.StatusNotFound, "NoSuchUpload", "The specified upload does not exist."}
	errCondition  = &failure{http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"}
	errDigest     = &failure{http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received."}
	errIncomplete = &failure{http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"}
	errRange      = &failure{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable"}
	errUnsigned   = &failure{http.StatusForbidden, "AccessDenied", "Access Denied"}
	errRequest    = &failure{http.StatusNotImplemented, "NotImplemented", "A header or query you provided requested a function that is not implemented."}
)

// ServeHTTP answers a request with the bucket in its path.
func (b *Bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := b.serve(w, r); err != nil {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(err.status)
		writeXML(w, struct {
			XMLName       struct{} `xml:"Error"`
			Code, Message string
		}{Code: err.code, Message: err.message})
	}
}

func (b *Bucket) serve(w http.ResponseWriter, r *http.Request) *failure {
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case r.Header.Get("Authorization") == "":
		return errUnsigned
	case name != b.name:
		return errNoBucket
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if key != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return b.get(w, r, key) // without mu: clients may read slowly
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	id := query.Get("uploadId")
	switch {
	case key == "" && r.Method == http.MethodGet && query.Get("list-type") == "2":
		return b.list(w, query)
	case key == "" && r.Method == http.MethodGet && query.Has("uploads"):
		return b.listUploads(w, query)
	case key == "":
		return errRequest
	case r.Method == http.MethodPost && query.Has("uploads"):
		return b.begin(w, r, key)
	case id != "" && (b.uploads[id] == nil || b.uploads[id].key != key):
		return errNoUpload
	case r.Method == http.MethodPut && id != "":
		return b.putPart(w, query, body)
	case r.Method == http.MethodPost && id != "":
		return b.complete(w, r, id, body)
	case r.Method == http.MethodDelete && id != "":
		delete(b.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut:
		return b.put(w, r, key, body)
	case r.Method == http.MethodDelete:
		delete(b.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		return errRequest
	}
	return nil
}

// readBody reads the body and checks its length and its checksum.
func readBody(r *http.Request) ([]byte, *failure) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.ContentLength >= 0 && int64(len(body)) != r.ContentLength {
		return nil, errIncomplete
	}
	sum := md5.Sum(body) //nolint:gosec // S3's checksum
	if want := r.Header.Get("Content-MD5"); want != "" && want != base64.StdEncoding.EncodeToString(sum[:]) {
		return nil, errDigest
	}
	return body, nil
}

func etagOf(content []byte) string {
	sum := md5.Sum(content) //nolint:gosec // S3's checksum
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// metaOf returns the headers that are stored with an object.
func metaOf(r *http.Request) http.Header {
	meta := make(http.Header)
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			meta[name] = values
		}
	}
	return meta
}

// mayWrite checks the condition of a request that makes an object. mu is held.
func (b *Bucket) mayWrite(r *http.Request, key string) *failure {
	if _, exists := b.objects[key]; exists && r.Header.Get("If-None-Match") == "*" {
		return errCondition
	}
	return nil
}

func (b *Bucket) put(w http.ResponseWriter, r *http.Request, key string, body []byte) *failure {
	if err := b.mayWrite(r, key); err != nil {
		return err
	}
	o := object{content: body, etag: etagOf(body), modified: b.now(), meta: metaOf(r)}
	b.objects[key] = o
	w.Header().Set("ETag", o.etag)
	return nil
}

func (b *Bucket) get(w http.ResponseWriter, r *http.Request, key string) *failure {
	b.mu.Lock()
	o, ok := b.objects[key]
	b.mu.Unlock()
	if !ok {
		return errNoKey
	}
	if want := r.Header.Get("If-Match"); want != "" && want != o.etag {
		return errCondition
	}
	content, status := o.content, http.StatusOK
	if span := r.Header.Get("Range"); span != "" {
		first, last, ok := parseRange(span, len(content))
		if !ok {
			return errRange
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(content)))
		content, status = content[first:last+1], http.StatusPartialContent
	}
	maps.Copy(w.Header(), o.meta)
	w.Header().Set("ETag", o.etag)
	w.Header().Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(content)
	}
	return nil
}

// parseRange returns the first and the last byte of "bytes=FIRST-LAST" or "bytes=FIRST-".
// It reports false for a range that begins after the end, and for other forms.
func parseRange(header string, size int) (first, last int, ok bool) {
	from, to, found := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	first, err := strconv.Atoi(from)
	if !found || err != nil || first < 0 || first >= size {
		return 0, 0, false
	}
	if to == "" {
		return first, size - 1, true
	}
	last, err = strconv.Atoi(to)
	return first, min(last, size-1), err == nil && last >= first
}
