package batch

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/tidegate/tidegate/internal/openai"
)

// MaxMessage is how much of an error's message an index has, in bytes.
const MaxMessage = 240

// ErrorMessage is what a failed line says of its failure, cut short.
func ErrorMessage(h openai.ResultHead) string {
	raw := errorOf(h)
	var said struct{ Message string }
	if err := json.Unmarshal(raw, &said); err != nil { // some servers say only a string
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return ""
		}
		said.Message = text
	}
	return ClipBytes(said.Message, MaxMessage)
}

// ErrorCode is the code of a failure, "" when it has none that is a string.
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

// varying is what differs between messages of one kind: quoted words, ids and
// numbers.
var varying = regexp.MustCompile(`"[^"]*"|'[^']*'|\b[0-9A-Fa-f]{8,}(?:-[0-9A-Fa-f]+)*\b|\d+(?:\.\d+)?`)

// SimilarMessage is the same for messages of one kind.
func SimilarMessage(message string) string {
	return strings.TrimSpace(varying.ReplaceAllString(message, "…"))
}

// errorOf is the error that a failed line has, or that its answer has; nil for
// none.
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
