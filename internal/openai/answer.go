package openai

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// answerOptions allow the syntax that CompactAnswer accepts. UTF-8 is checked separately,
// because its option also applies to lone surrogates.
var answerOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// CompactAnswer converts an answer to one line of JSONL: it validates
// that body is one JSON value and removes the whitespace between its tokens.
// Numbers, strings and the order of members are unchanged. A compact body is returned
// without a copy.
//
// The value must be one that every parser of JSON takes, because one bad line
// spoils a client's whole file. Bytes that are not UTF-8 are refused (readers
// of text files stop at them), as are more than 500 levels of nesting. What the
// grammar of RFC 8259 allows and parsers take is kept: names that stand twice,
// escapes of lone surrogates, numbers of any size.
func CompactAnswer(body []byte) ([]byte, error) {
	if err := validate(body, answerOptions...); err != nil {
		return nil, err
	}
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("it has bytes that are not UTF-8 (byte %d)", invalidAt(body)+1)
	}
	i := indexSpace(body, 0)
	if i == len(body) {
		return body, nil
	}
	compact := make([]byte, 0, len(body))
	for start := 0; start < len(body); {
		compact = append(compact, body[start:i]...)
		start = skipSpace(body, i)
		i = indexSpace(body, start)
	}
	return compact, nil
}

// invalidAt is the index of the first byte that is not UTF-8.
func invalidAt(b []byte) int {
	at := 0
	for at < len(b) {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n < 2 {
			break
		}
		at += n
	}
	return at
}

// indexSpace returns the index of the first whitespace from i on that is outside
// of strings, len(b) when there is none. b is valid JSON, and i not in a string.
func indexSpace(b []byte, i int) int {
	for i < len(b) {
		switch class[b[i]] {
		case space:
			return i
		case quote:
			i = skipString(b, i)
		default:
			i++
		}
	}
	return i
}

// AppendResponseLine appends the line of an output or error file for a request
// that was answered, without a newline. body is compact JSON (see
// CompactAnswer); an empty one is written as null.
func AppendResponseLine(dst []byte, id, customID string, status int, requestID string, body []byte) []byte {
	dst = appendLineStart(dst, id, customID)
	dst = append(dst, `{"status_code":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, `,"request_id":`...)
	dst = appendString(dst, requestID)
	dst = append(dst, `,"body":`...)
	if len(body) == 0 {
		body = []byte("null")
	}
	dst = append(dst, body...)
	return append(dst, `},"error":null}`...)
}

// AppendErrorLine appends the line of an error file for a request that was
// never answered, without a newline.
func AppendErrorLine(dst []byte, id, customID, code, message string) []byte {
	dst = appendLineStart(dst, id, customID)
	dst = append(dst, `null,"error":{"code":`...)
	dst = appendString(dst, code)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, message)
	return append(dst, `}}`...)
}

func appendLineStart(dst []byte, id, customID string) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, id)
	dst = append(dst, `,"custom_id":`...)
	dst = appendString(dst, customID)
	return append(dst, `,"response":`...)
}

// appendString appends s as a JSON string, bytes that are not UTF-8 as U+FFFD.
func appendString(dst []byte, s string) []byte {
	// The error only reports that there were such bytes.
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}
