package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// Every error by which package upload refuses a request has an answer that names
// what the client has to change, also when it is wrapped.
func TestRefusalsOfUploads(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		param  string
	}{
		{upload.ErrNotJSONL, 400, ""},
		{upload.ErrZipEncrypted, 400, "file"},
		{upload.ErrZipEntries, 400, "file"},
		{upload.ErrEmptyPart, 400, "data"},
		{&upload.SizeError{Subject: upload.WholeFile, Limit: 9}, 413, "file"},
		{&upload.SizeError{Subject: upload.OnePart, Limit: 9}, 413, "data"},
		{&upload.SizeError{Subject: upload.AllParts, Limit: 9}, 413, "part_ids"},
		{&upload.SizeError{Subject: upload.Decompressed, Limit: 9}, 400, "file"},
		{&upload.EncodingError{Encoding: "UTF-32"}, 400, "file"},
		{&upload.DecompressError{Format: "zip", Reason: "it is corrupt", Err: errors.New("x")}, 400, "file"},
		{&upload.TooManyUploadsError{Open: 1, Limit: 1, TTL: time.Hour}, http.StatusTooManyRequests, ""},
		{&upload.TooManyPartsError{Parts: 1, Limit: 1}, 400, "data"},
		{&upload.UnknownPartError{UploadID: "upload_1"}, 400, "part_ids"},
		{&upload.PartsSizeError{Got: 1, Want: 2}, 400, "part_ids"},
		{&upload.ChecksumError{MD5: "00"}, 400, "md5"},
		{&upload.StatusError{Action: "complete", Status: batch.UploadExpired}, 409, ""},
	} {
		err := fmt.Errorf("storing: %w", c.err)
		got := asError(err, func() *openai.Error { return openai.NotFound("", "not found") })
		if got.Status != c.status || got.Param != c.param || got.Message == "" {
			t.Errorf("%T %v: got %d about %q, want %d about %q", c.err, c.err, got.Status, got.Param, c.status, c.param)
		}
		if explained := Explain(err); !errors.Is(explained, c.err) {
			t.Errorf("%v: the explanation %v does not wrap it", c.err, explained)
		}
	}
	if got := Explain(batch.ErrNoSpace); got.Error() != batch.ErrNoSpace.Error() {
		t.Errorf("got %v for an error that is not the client's, want it unchanged", got)
	}
}
