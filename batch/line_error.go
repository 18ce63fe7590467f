package batch

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/tidegate/tidegate/internal/openai"
)

// MaxMessage limits the message of an error in an index, in bytes.
const MaxMessage = 240

// ErrorMessage returns the error message of a failed line, shortened to MaxMessage.
func ErrorMessage(h openai.ResultHead) string {
	raw := errorOf(h)
	var said struct{ Message string }
	if err := json.Unmarshal(raw, &said); err != nil { // some servers return only a string
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return ""
		}
		said.Message = text
	}
	return ClipBytes(said.Message, MaxMessage)
}

// ErrorCode returns the code of the error; "" unless it is a string.
func ErrorCode(h openai.ResultHead) string {
	var said struct{ Code json.RawMessage }
	var code string
	if json.Unmarshal(errorOf(h), &said) != nil || json.Unmarshal(said.Code, &code) != nil {
		return ""
	}
	return code
}

// ClipBytes shortens s to at most n bytes, between characters.
func ClipBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

// varying matches the parts that differ between messages of one kind: quoted words, ids
// and numbers.
var varying = regexp.MustCompile(`"[^"]*"|'[^']*'|\b[0-9A-Fa-f]{8,}(?:-[0-9A-Fa-f]+)*\b|\d+(?:\.\d+)?`)

// SimilarMessage returns a text that is equal for messages of one kind.
func SimilarMessage(message string) string {
	return strings.TrimSpace(varying.ReplaceAllString(message, "…"))
}

// errorOf returns the error of a failed line or of its answer; nil for none.
func errorOf(h openai.ResultHead) json.RawMessage {
	if h.Body == nil {
		return h.Error
	}
	var body struct{ Error json.RawMessage }
	if json.Unmarshal(h.Body, &body) != nil {
		return nil
	}
	return body.Error
}
