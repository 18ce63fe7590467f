package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// TestRefusals checks that every error with which packages batch and upload refuse a
// request has a response that says what the client must change, also when it is wrapped.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		param  string
	}{
		{&batch.PurposeError{FileID: "file-1", Purpose: "vision"}, 400, "file_id"},
		{upload.ErrNotJSONL, 400, ""},
		{&openai.LineTooLongError{Number: 2, Limit: 9}, 400, "file"},
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
		{&batch.QuotaError{Kind: batch.QuotaBytes, Used: 1, Max: 1}, http.StatusInsufficientStorage, ""},
		{&batch.QuotaError{Kind: batch.QuotaFiles, Used: 1, Max: 1}, http.StatusInsufficientStorage, ""},
		{&limits.ReachedError{Kind: limits.BatchesPerHour, Limit: 1, Wait: time.Minute}, http.StatusTooManyRequests, ""},
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

// TestStateRefusals checks that an operation that the state of a batch does not allow is a
// conflict with a reason. A reason of several operations, such as a file that a retry and a
// receipt need, names none of them.
func TestStateRefusals(t *testing.T) {
	for _, c := range []struct {
		err  batch.StateError
		want string
	}{
		{batch.StateError{Err: batch.ErrNotEnded, Status: batch.InProgress}, "Cannot retry the failed requests of a batch with status 'in_progress'. Wait for its end, or cancel it."},
		{batch.StateError{Err: batch.ErrNotValidated}, "Batch 'batch_1' has no failed requests: its input did not validate."},
		{batch.StateError{Err: batch.ErrNoFailures}, "Batch 'batch_1' has no failed requests."},
		{batch.StateError{Err: batch.ErrInputGone, FileID: "file-1"}, "The input file 'file-1' of the batch no longer exists."},
		{batch.StateError{Err: batch.ErrErrorsGone, FileID: "file-1"}, "The error file 'file-1' of the batch no longer exists."},
		{batch.StateError{Err: batch.ErrNoIndex}, "Batch 'batch_1' has no index of its lines: an earlier version ended it. Its output and error files have its results."},
		{batch.StateError{Err: batch.ErrResultsGone}, "The results of batch 'batch_1' are gone."},
		{batch.StateError{Err: batch.ErrKeyOfDeleted}, "The batch 'batch_1' that was created with this Idempotency-Key has been deleted. Use another key to create it again."},
	} {
		c.err.BatchID = "batch_1"
		got := asError(&c.err, nil)
		if got.Status != http.StatusConflict || got.Message != c.want {
			t.Errorf("%v: got %d %q, want 409 %q", &c.err, got.Status, got.Message, c.want)
		}
	}
}
