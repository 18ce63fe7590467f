package httpapi

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// parseUpload reads the body of POST /v1/uploads. maxBytes limits the size of
// the upload.
func parseUpload(body []byte, maxBytes int64) (upload.Request, error) {
	p, err := parseParams(body)
	if err != nil {
		return upload.Request{}, err
	}
	var r upload.Request
	if r.Filename, err = p.text("filename", 4096); err != nil {
		return upload.Request{}, err
	}
	if r.Filename, err = ParseFilename("filename", r.Filename); err != nil {
		return upload.Request{}, err
	}
	if r.Purpose, err = p.text("purpose", 512); err != nil {
		return upload.Request{}, err
	}
	if err := parsePurpose(r.Purpose); err != nil {
		return upload.Request{}, err
	}
	if r.Bytes, err = p.integer("bytes", 1, maxBytes); err != nil {
		return upload.Request{}, err
	}
	if r.MimeType, err = p.text("mime_type", 255); err != nil {
		return upload.Request{}, err
	}
	r.FileTTL, err = p.ttl("expires_after")
	return r, err
}

// parseComplete reads the body of a request to complete an upload.
func parseComplete(body []byte) (upload.CompleteRequest, error) {
	p, err := parseParams(body)
	if err != nil {
		return upload.CompleteRequest{}, err
	}
	var r upload.CompleteRequest
	if r.PartIDs, err = p.texts("part_ids"); err != nil {
		return upload.CompleteRequest{}, err
	}
	if _, ok := p.get("md5"); !ok {
		return r, nil
	}
	if r.MD5, err = p.text("md5", 512); err != nil {
		return upload.CompleteRequest{}, err
	}
	r.MD5 = strings.ToLower(r.MD5)
	if sum, err := hex.DecodeString(r.MD5); err != nil || len(sum) != md5.Size {
		return upload.CompleteRequest{}, openai.InvalidRequest("md5", "invalid_value", "Invalid 'md5': expected 32 hexadecimal digits.")
	}
	return r, nil
}

// ParseFilename returns the clean form of a client's name for a file, as
// upload.CleanFilename does. Its error is an *openai.Error that names param.
func ParseFilename(param, name string) (string, error) {
	clean, err := upload.CleanFilename(name)
	if refused, ok := errors.AsType[*upload.FilenameError](err); ok {
		if refused.Length == 0 {
			return "", openai.InvalidRequest(param, "invalid_value", "Invalid value for '%s': a file needs a name.", param)
		}
		return "", tooLong(param, upload.MaxFilename, refused.Length)
	}
	return clean, err
}
