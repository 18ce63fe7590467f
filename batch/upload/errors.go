package upload

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Errors of a client's request that need no details.
var (
	ErrNotJSONL     = errors.New("no line of the file is JSON")
	ErrZipEncrypted = errors.New("zip archive is encrypted")
	ErrZipEntries   = errors.New("zip archive does not have exactly one entry that is a file")
	ErrEmptyPart    = errors.New("part is empty")
)

// ErrLeftBehind is joined to the error of a request whose content could not be
// removed. The collector removes it later.
var ErrLeftBehind = errors.New("content without a file was left behind")

// Subject is the kind of object in a SizeError.
type Subject string

// Subjects of a SizeError.
const (
	WholeFile    Subject = "file"
	OnePart      Subject = "part"
	AllParts     Subject = "parts together"
	Decompressed Subject = "decompressed file"
)

// SizeError reports content that is larger than its limit.
type SizeError struct {
	Subject Subject
	Limit   int64 // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s larger than the limit of %d bytes", e.Subject, e.Limit)
}

// EncodingError reports a file of requests that is not UTF-8.
type EncodingError struct {
	Encoding string // as openai.UTF16 returns it
}

func (e *EncodingError) Error() string { return "file is " + e.Encoding + ", not UTF-8" }

// DecompressError reports a compressed file that cannot be decompressed.
type DecompressError struct {
	Format string // gzip, zstd, bzip2 or zip
	Reason string
	Err    error // of the decoder
}

func (e *DecompressError) Error() string {
	return fmt.Sprintf("decompressing file as %s: %s: %v", e.Format, e.Reason, e.Err)
}

// Unwrap returns the error of the decoder.
func (e *DecompressError) Unwrap() error { return e.Err }

// TooManyUploadsError reports that as many uploads are pending as may be.
type TooManyUploadsError struct {
	Open, Limit int64
	All         bool          // of all tenants together
	TTL         time.Duration // after which a pending upload expires
}

func (e *TooManyUploadsError) Error() string {
	return fmt.Sprintf("%d uploads are open, the limit is %d", e.Open, e.Limit)
}

// TooManyPartsError reports an upload with as many parts as it may have.
type TooManyPartsError struct {
	Parts, Limit int64
}

func (e *TooManyPartsError) Error() string {
	return fmt.Sprintf("upload has %d parts, the limit is %d", e.Parts, e.Limit)
}

// UnknownPartError reports the id of a part that is not of the upload.
type UnknownPartError struct {
	UploadID string
}

func (e *UnknownPartError) Error() string { return "a part is not of upload " + e.UploadID }

// PartsSizeError reports parts that are not as large as their upload.
type PartsSizeError struct {
	Got, Want int64 // bytes
}

func (e *PartsSizeError) Error() string {
	return fmt.Sprintf("parts add up to %d bytes, the upload has %d", e.Got, e.Want)
}

// ChecksumError reports content whose checksum differs from that of the client.
type ChecksumError struct {
	MD5 string // of the content, hex
}

func (e *ChecksumError) Error() string { return "content has the MD5 checksum " + e.MD5 }

// StatusError reports an action that the status of an upload does not allow. It
// wraps batch.ErrConflict.
type StatusError struct {
	Action string // add a part to, complete or cancel
	Status string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("cannot %s an upload with status %s", e.Action, e.Status)
}

// Unwrap returns batch.ErrConflict.
func (e *StatusError) Unwrap() error { return batch.ErrConflict }
