package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// uploadRetry is the Retry-After for a client with too many open uploads.
const uploadRetry = time.Minute

// Explain returns the *openai.Error for an error that a client's request caused,
// and other errors as they are. The *openai.Error wraps err.
func Explain(err error) error {
	if e := refusal(err); e != nil {
		return e.WithCause(err)
	}
	return err
}

// refusal returns the answer to a request that packages batch and upload refuse,
// nil if err is not such a refusal.
func refusal(err error) *openai.Error {
	if e, ok := errors.AsType[*batch.StateError](err); ok {
		return stateRefusal(e)
	}
	if e, ok := errors.AsType[*batch.PurposeError](err); ok {
		return openai.InvalidRequest("file_id", "", "File '%s' has the purpose '%s'; the input of a batch must have 'batch'.", e.FileID, e.Purpose)
	}
	if e, ok := errors.AsType[*batch.MetadataError](err); ok {
		return openai.InvalidRequest("metadata."+e.Key, "invalid_value", "Invalid 'metadata.%s': %s.", e.Key, e.Err)
	}
	if e, ok := errors.AsType[*limits.ReachedError](err); ok {
		if e.Exhausted() {
			return openai.InsufficientQuota(e.Wait, "%s", e.Error())
		}
		return openai.Overloaded(e.Wait, "%s", e.Error())
	}
	if errors.Is(err, upload.ErrNotJSONL) {
		return openai.InvalidRequest("", "", "Invalid file format for Batch API. Must be .jsonl")
	}
	if e, ok := errors.AsType[*openai.LineTooLongError](err); ok {
		return openai.InvalidRequest("file", "invalid_value", "Line %d of the file is longer than the limit of %d bytes, and no other line is JSON.", e.Number, e.Limit)
	}
	if errors.Is(err, upload.ErrEmptyPart) {
		return openai.InvalidRequest("data", "invalid_value", "Invalid 'data': the part is empty.")
	}
	if e, ok := errors.AsType[*upload.SizeError](err); ok {
		return tooLarge(e)
	}
	if e, ok := errors.AsType[*upload.EncodingError](err); ok {
		return openai.InvalidRequest("file", "invalid_encoding",
			"The file is %s, but the Batch API reads UTF-8. Convert it, for example with: iconv -f %s -t UTF-8.", e.Encoding, e.Encoding[:len("UTF-16")])
	}
	if e := packingRefusal(err); e != nil {
		return e
	}
	return uploadRefusal(err)
}

// stateRefusals are the messages of stateRefusal by the reason of the error. {batch},
// {status} and {file} stand for fields of the error.
var stateRefusals = []struct {
	reason  error
	message string
}{
	{batch.ErrNoReceipt, "Batch has the status '{status}'. Its receipt is available when it has ended."},
	{batch.ErrNotEnded, "Cannot retry the failed requests of a batch with status '{status}'. Wait for its end, or cancel it."},
	{batch.ErrNotValidated, "Batch '{batch}' has no failed requests: its input did not validate."},
	{batch.ErrNoFailures, "Batch '{batch}' has no failed requests."},
	{batch.ErrInputGone, "The input file '{file}' of the batch no longer exists."},
	{batch.ErrErrorsGone, "The error file '{file}' of the batch no longer exists."},
	{batch.ErrNoIndex, "Batch '{batch}' has no index of its lines: an earlier version ended it. Its output and error files have its results."},
	{batch.ErrResultsGone, "The results of batch '{batch}' are gone."},
	{batch.ErrKeyOfDeleted, "The batch '{batch}' that was created with this Idempotency-Key has been deleted. Use another key to create it again."},
}

// stateRefusal is the part of refusal for operations that the state of a batch does not allow.
func stateRefusal(e *batch.StateError) *openai.Error {
	message := "The state of batch '{batch}' does not allow this."
	for _, r := range stateRefusals {
		if errors.Is(e, r.reason) {
			message = r.message
		}
	}
	return openai.Conflict("%s", strings.NewReplacer("{batch}", e.BatchID, "{status}", string(e.Status), "{file}", e.FileID).Replace(message))
}

func tooLarge(e *upload.SizeError) *openai.Error {
	switch e.Subject {
	case upload.OnePart:
		return openai.TooLarge("data", "The part is larger than the limit of %d bytes.", e.Limit)
	case upload.AllParts:
		return openai.TooLarge("part_ids", "The parts are larger than the upload.")
	case upload.Decompressed:
		return openai.InvalidRequest("file", "", "The decompressed file is larger than the limit of %d bytes.", e.Limit)
	default:
		return openai.TooLarge("file", "The file is larger than the limit of %d bytes.", e.Limit)
	}
}

// packingRefusal is the part of refusal for compressed files.
func packingRefusal(err error) *openai.Error {
	if errors.Is(err, upload.ErrZipEncrypted) {
		return openai.InvalidRequest("file", "", "The zip archive is encrypted.")
	}
	if errors.Is(err, upload.ErrZipEntries) {
		return openai.InvalidRequest("file", "", "The zip archive must have exactly one entry, a file.")
	}
	if e, ok := errors.AsType[*upload.DecompressError](err); ok {
		return openai.InvalidRequest("file", "", "The file could not be decompressed as %s: %s.", e.Format, e.Reason)
	}
	return nil
}

// uploadRefusal is the part of refusal for uploads in parts.
func uploadRefusal(err error) *openai.Error {
	if e, ok := errors.AsType[*upload.TooManyUploadsError](err); ok {
		refused := openai.InvalidRequest("", "too_many_uploads",
			"%d uploads are open, and the limit is %d (max_open_uploads). Complete or cancel some; one that is left alone expires after %s.", e.Open, e.Limit, e.TTL)
		if e.All {
			refused.Message = fmt.Sprintf("%d uploads of all clients are open, and the limit of this server is %d (max_total_open_uploads). Try again later.", e.Open, e.Limit)
		}
		refused.Status, refused.Type, refused.RetryAfter = http.StatusTooManyRequests, openai.TypeRateLimit, uploadRetry
		return refused
	}
	if e, ok := errors.AsType[*batch.QuotaError](err); ok {
		return storageRefusal(e)
	}
	if e, ok := errors.AsType[*upload.TooManyPartsError](err); ok {
		return openai.InvalidRequest("data", "too_many_parts", "The upload has %d parts, and the limit is %d (max_upload_parts). Begin a new upload with larger parts.", e.Parts, e.Limit)
	}
	if e, ok := errors.AsType[*upload.UnknownPartError](err); ok {
		return openai.InvalidRequest("part_ids", "invalid_value", "Invalid 'part_ids': one of them is no part of upload %s.", e.UploadID)
	}
	if e, ok := errors.AsType[*upload.PartsSizeError](err); ok {
		return openai.InvalidRequest("part_ids", "invalid_value", "Invalid 'part_ids': the parts add up to %d bytes, but the upload is of %d.", e.Got, e.Want)
	}
	if e, ok := errors.AsType[*upload.ChecksumError](err); ok {
		return openai.InvalidRequest("md5", "invalid_value", "Invalid 'md5': the content has the checksum %s.", e.MD5)
	}
	if e, ok := errors.AsType[*upload.StatusError](err); ok {
		return openai.Conflict("Cannot %s an upload with status '%s'.", e.Action, e.Status)
	}
	return nil
}

// storageRefusal is the answer to a request that would exceed a limit of what is stored.
func storageRefusal(e *batch.QuotaError) *openai.Error {
	var message string
	switch {
	case e.All && e.Kind == batch.QuotaBytes:
		message = "%d bytes of all clients are stored, and the limit of this server is %d (max_total_stored_size)%s. Delete files or batches, or ask the operator for space."
	case e.All:
		message = "%d files of all clients are stored, and the limit of this server is %d (max_total_files)%s. Delete some, or ask the operator for more."
	case e.Kind == batch.QuotaBytes:
		message = "%d bytes are stored, and the limit is %d (max_stored_size)%s. Delete files or batches; the space is free when the cleaner has removed them, after about a minute."
	default:
		message = "%d files are stored, with results and parts of uploads, and the limit is %d (max_files)%s. Delete some; they no longer count when the cleaner has removed them, after about a minute."
	}
	reason := ""
	switch {
	case e.Results:
		reason = ": no space is left for the results of a new batch"
	case e.Kind == batch.QuotaBytes:
		reason = ": this does not fit"
	}
	refused := openai.InvalidRequest("", "storage_limit_exceeded", message, e.Used, e.Max, reason)
	refused.Status, refused.NoRetry = http.StatusInsufficientStorage, true
	return refused
}
