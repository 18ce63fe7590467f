package s3test

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxKeys is the largest page of a listing, and the default.
const maxKeys = 1000

// pageSize reads the parameter for the size of a page.
func pageSize(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxKeys {
		return maxKeys
	}
	return n
}

// folded returns the common prefix that a listing with a delimiter has instead of the key,
// "" if it has the key.
func folded(key, prefix, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	below, _, found := strings.Cut(strings.TrimPrefix(key, prefix), delimiter)
	if !found {
		return ""
	}
	return prefix + below + delimiter
}

// passed reports whether a listing that continues after a key or a common prefix has
// already had the key.
func passed(key, after, delimiter string) bool {
	return key <= after || delimiter != "" && strings.HasSuffix(after, delimiter) && strings.HasPrefix(key, after)
}

type commonPrefix struct{ Prefix string }

type listedObject struct {
	Key, LastModified, ETag string
	Size                    int
}

// list answers ListObjectsV2. The token is the last key or common prefix of the page.
func (b *Bucket) list(w http.ResponseWriter, query url.Values) *failure {
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	after := cmp.Or(query.Get("continuation-token"), query.Get("start-after"))
	page := struct {
		XMLName                                           struct{} `xml:"ListBucketResult"`
		Name, Prefix, Delimiter, StartAfter, EncodingType string
		NextContinuationToken                             string `xml:",omitempty"`
		KeyCount, MaxKeys                                 int
		IsTruncated                                       bool
		Contents                                          []listedObject
		CommonPrefixes                                    []commonPrefix
	}{
		Name: b.name, Prefix: url.QueryEscape(prefix), Delimiter: url.QueryEscape(delimiter),
		StartAfter: url.QueryEscape(query.Get("start-after")), EncodingType: "url", MaxKeys: pageSize(query.Get("max-keys")),
	}
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if !strings.HasPrefix(key, prefix) || passed(key, after, delimiter) {
			continue
		}
		if page.KeyCount == page.MaxKeys {
			page.IsTruncated, page.NextContinuationToken = true, after
			break
		}
		page.KeyCount++
		if common := folded(key, prefix, delimiter); common != "" {
			page.CommonPrefixes = append(page.CommonPrefixes, commonPrefix{url.QueryEscape(common)})
			after = common
			continue
		}
		o := b.objects[key]
		page.Contents = append(page.Contents, listedObject{
			Key: url.QueryEscape(key), LastModified: o.modified.UTC().Format(time.RFC3339Nano), ETag: o.etag, Size: len(o.content),
		})
		after = key
	}
	writeXML(w, page)
	return nil
}

type listedUpload struct {
	Key       string
	ID        string `xml:"UploadId"`
	Initiated string
}

// listUploads answers ListMultipartUploads: by key, and by beginning for each key.
func (b *Bucket) listUploads(w http.ResponseWriter, query url.Values) *failure {
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	after, afterID := query.Get("key-marker"), query.Get("upload-id-marker")
	page := struct {
		XMLName                                 struct{} `xml:"ListMultipartUploadsResult"`
		Bucket, Prefix, Delimiter, EncodingType string
		NextKeyMarker                           string `xml:",omitempty"`
		NextIDMarker                            string `xml:"NextUploadIdMarker,omitempty"`
		MaxUploads                              int
		IsTruncated                             bool
		Upload                                  []listedUpload
		CommonPrefixes                          []commonPrefix
	}{
		Bucket: b.name, Prefix: url.QueryEscape(prefix), Delimiter: url.QueryEscape(delimiter), EncodingType: "url",
		MaxUploads: pageSize(query.Get("max-uploads")),
	}
	ids := slices.SortedFunc(maps.Keys(b.uploads), func(x, y string) int {
		return cmp.Or(cmp.Compare(b.uploads[x].key, b.uploads[y].key), cmp.Compare(x, y))
	})
	for _, id := range ids {
		u := b.uploads[id]
		if !strings.HasPrefix(u.key, prefix) || passed(u.key, after, delimiter) && (u.key != after || id <= afterID || afterID == "") {
			continue
		}
		if len(page.Upload)+len(page.CommonPrefixes) == page.MaxUploads {
			page.IsTruncated, page.NextKeyMarker, page.NextIDMarker = true, url.QueryEscape(after), afterID
			break
		}
		if common := folded(u.key, prefix, delimiter); common != "" {
			page.CommonPrefixes = append(page.CommonPrefixes, commonPrefix{url.QueryEscape(common)})
			after, afterID = common, ""
			continue
		}
		page.Upload = append(page.Upload, listedUpload{Key: url.QueryEscape(u.key), ID: id, Initiated: u.begun.UTC().Format(time.RFC3339Nano)})
		after, afterID = u.key, id
	}
	writeXML(w, page)
	return nil
}
