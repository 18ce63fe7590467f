package s3

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/tidegate/tidegate/batch"
)

var (
	// errExists is for a key that was written before.
	errExists = fmt.Errorf("%w: the key exists already", batch.ErrConflict)
	// errDamaged is for bytes that arrived as others.
	errDamaged = errors.New("content was damaged on its way")

	errClosed = fmt.Errorf("%w: files are not open", batch.ErrUnavailable)
)

// Codes of errors, https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
// and those of other services.
const (
	codeNoSuchKey    = "NoSuchKey"
	codeNoSuchBucket = "NoSuchBucket"
	codeNoSuchUpload = "NoSuchUpload"
	codeSkewed       = "RequestTimeTooSkewed"
)

// noSpaceCodes are for a full service, bucket or account: MinIO's and Ceph's.
var noSpaceCodes = map[string]bool{
	"XMinioStorageFull":              true,
	"XMinioAdminBucketQuotaExceeded": true,
	"QuotaExceeded":                  true,
	"InsufficientStorage":            true,
}

// deniedCodes are for credentials that are wrong or may not do it.
var deniedCodes = map[string]bool{
	"AccessDenied": true, "AllAccessDisabled": true, "AccountProblem": true,
	"InvalidAccessKeyId": true, "SignatureDoesNotMatch": true,
	"InvalidToken": true, "ExpiredToken": true, "InvalidClientTokenId": true,
}

// busyCodes are retried with every status.
var busyCodes = map[string]bool{
	"SlowDown": true, "SlowDownRead": true, "SlowDownWrite": true, "ServiceUnavailable": true,
	"Throttling": true, "ThrottlingException": true, "RequestLimitExceeded": true, "RequestThrottled": true,
	"InternalError": true, "RequestTimeout": true, "OperationAborted": true, "ConditionalRequestConflict": true,
}

// damageCodes are for bytes that arrived as others than were sent.
var damageCodes = map[string]bool{
	"BadDigest": true, "IncompleteBody": true, "XAmzContentSHA256Mismatch": true, "XAmzContentChecksumMismatch": true,
}

func isCode(err error, code string) bool {
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && answer.Code == code
}

func isStatus(err error, status int) bool {
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && answer.StatusCode == status
}

// isRefused reports whether a condition of the request (If-Match, If-None-Match) was
// false.
func isRefused(err error) bool {
	return isStatus(err, http.StatusPreconditionFailed) || isCode(err, minio.PreconditionFailed)
}

// isPassing reports whether another attempt may succeed. After such an error it is
// unknown whether the service executed the request.
func isPassing(err error) bool {
	if errors.Is(err, errDamaged) {
		return true
	}
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		return isBroken(err) && !isLasting(err)
	}
	if busyCodes[answer.Code] || damageCodes[answer.Code] {
		return true
	}
	if noSpaceCodes[answer.Code] {
		return false
	}
	switch answer.StatusCode {
	case http.StatusOK: // and yet no success: a broken answer
		return true
	case http.StatusRequestTimeout, http.StatusTooManyRequests, 499: // nginx: the client closed the request
		return true
	case http.StatusNotImplemented, http.StatusInsufficientStorage, http.StatusHTTPVersionNotSupported:
		return false
	}
	return answer.StatusCode >= 500
}

// isBroken reports whether a connection was not made or did not last.
func isBroken(err error) bool {
	_, request := errors.AsType[*url.Error](err)
	_, cut := errors.AsType[*xml.SyntaxError](err) // an answer that ends too early
	return request || cut || errors.Is(err, errBroken) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// isLasting reports whether there will be no connection however often it is
// tried.
func isLasting(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	return unknown || name || invalid || plain || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// explain maps an error of the service to an error of package batch, with a remedy and
// without secrets. It returns other errors unchanged, including its own.
func (f *Files) explain(err error) error {
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	switch {
	case errors.Is(err, errDamaged):
		return fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
	case !ok && !isBroken(err): // ours, or of the context
		return err
	case !ok && isLasting(err):
		return errors.New(f.redact(err.Error()))
	case !ok:
		return fmt.Errorf("%w: %s", batch.ErrUnavailable, f.redact(err.Error()))
	case answer.Code == codeNoSuchKey:
		return batch.ErrNotFound
	case answer.Code == codeNoSuchBucket:
		return fmt.Errorf("bucket %q does not exist at %s", f.cfg.Bucket, f.cfg.Endpoint)
	}
	said := f.said(answer)
	switch {
	case noSpaceCodes[answer.Code], answer.StatusCode == http.StatusInsufficientStorage:
		return fmt.Errorf("%w: %s", batch.ErrNoSpace, said)
	case answer.Code == codeSkewed:
		return fmt.Errorf("the clock of this machine is too far from that of the service: %s", said)
	case deniedCodes[answer.Code], answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("access to bucket %q was denied: %s; check the credentials and their permissions", f.cfg.Bucket, said)
	case isPassing(err):
		return fmt.Errorf("%w: %s", batch.ErrUnavailable, said)
	case answer.StatusCode == http.StatusMovedPermanently || answer.StatusCode == http.StatusTemporaryRedirect:
		return fmt.Errorf("bucket %q is in another region than %s: %s", f.cfg.Bucket, f.cfg.Region, said)
	}
	return errors.New(said)
}

// maxSaid limits the part of a response in an error, in bytes.
const maxSaid = 300

// said formats a response in one line.
func (f *Files) said(answer minio.ErrorResponse) string {
	message := strings.Join(strings.Fields(answer.Error()), " ")
	if message = f.redact(message); len(message) > maxSaid {
		message = strings.ToValidUTF8(message[:maxSaid], "") + "…"
	}
	said := fmt.Sprintf("the service answered %d", answer.StatusCode)
	if answer.Code != "" {
		said += " " + f.redact(answer.Code)
	}
	said += ": " + message
	if answer.RequestID != "" {
		said += " (request " + f.redact(answer.RequestID) + ")"
	}
	return said
}

// redact removes secrets from a response of a service: those of the configuration, and
// the current session token of a role.
func (f *Files) redact(text string) string {
	for _, s := range f.secrets {
		text = strings.ReplaceAll(text, s, "***")
	}
	if conn := f.conn.Load(); conn != nil {
		if token := conn.watched.token.Load(); token != nil {
			text = strings.ReplaceAll(text, *token, "***")
		}
	}
	return text
}
