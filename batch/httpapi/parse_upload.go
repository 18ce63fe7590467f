package httpapi

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// parseUpload reads the body of POST /v1/uploads. maxBytes limits the size of
// the upload.
func parseUpload(body []byte, maxBytes int64) (batch.UploadRequest, error) {
	p, err := parseParams(body)
	if err != nil {
		return batch.UploadRequest{}, err
	}
	var r batch.UploadRequest
	if r.Filename, err = p.text("filename", 4096); err != nil {
		return batch.UploadRequest{}, err
	}
	if r.Filename, err = ParseFilename("filename", r.Filename); err != nil {
		return batch.UploadRequest{}, err
	}
	if r.Purpose, err = p.text("purpose", 512); err != nil {
		return batch.UploadRequest{}, err
	}
	if err := parsePurpose(r.Purpose); err != nil {
		return batch.UploadRequest{}, err
	}
	if r.Bytes, err = p.integer("bytes", 1, maxBytes); err != nil {
		return batch.UploadRequest{}, err
	}
	if r.MimeType, err = p.text("mime_type", 255); err != nil {
		return batch.UploadRequest{}, err
	}
	r.FileTTL, err = p.ttl("expires_after")
	return r, err
}

// parseComplete reads the body of a request to complete an upload.
func parseComplete(body []byte) (batch.CompleteRequest, error) {
	p, err := parseParams(body)
	if err != nil {
		return batch.CompleteRequest{}, err
	}
	var r batch.CompleteRequest
	if r.PartIDs, err = p.texts("part_ids"); err != nil {
		return batch.CompleteRequest{}, err
	}
	if _, ok := p.get("md5"); !ok {
		return r, nil
	}
	if r.MD5, err = p.text("md5", 512); err != nil {
		return batch.CompleteRequest{}, err
	}
	r.MD5 = strings.ToLower(r.MD5)
	if sum, err := hex.DecodeString(r.MD5); err != nil || len(sum) != md5.Size {
		return batch.CompleteRequest{}, openai.InvalidRequest("md5", "invalid_value", "Invalid 'md5': expected 32 hexadecimal digits.")
	}
	return r, nil
}

// ParseFilename returns the clean form of a client's name for a file, as
// batch.CleanFilename does. Its error is an *openai.Error that names param.
func ParseFilename(param, name string) (string, error) {
	clean, err := batch.CleanFilename(name)
	if refused, ok := errors.AsType[*batch.FilenameError](err); ok {
		if refused.Length == 0 {
			return "", openai.InvalidRequest(param, "invalid_value", "Invalid value for '%s': a file needs a name.", param)
		}
		return "", tooLong(param, batch.MaxFilename, refused.Length)
	}
	return clean, err
}
