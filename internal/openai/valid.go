package openai

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is the maximum nesting of arrays and objects, including the outermost. Parsers
// of clients and servers fail from about 1,000 on, some by crashing.
const maxDepth = 500

// validator is a tokenizer for one value at a time, with the buffers that it
// keeps between values.
type validator struct {
	decoder jsontext.Decoder
	source  bytes.Buffer
}

var validators = sync.Pool{New: func() any { return new(validator) }}

// validate returns why b is not one valid JSON value. By default that
// is JSON as in RFC 7493: UTF-8, no lone surrogates, no name twice. The error
// is meant for the author of the JSON; its offsets are 1-based.
func validate(b []byte, opts ...jsontext.Options) error {
	if deeper(b, maxDepth) {
		return fmt.Errorf("it is nested more than %d levels deep", maxDepth)
	}
	v := validators.Get().(*validator)
	v.source = *bytes.NewBuffer(b)
	v.decoder.Reset(&v.source, opts...)
	_, err := v.decoder.ReadValue()
	end := int(v.decoder.InputOffset())
	v.source = bytes.Buffer{} // b must not live on in the pool
	v.decoder.Reset(&v.source)
	validators.Put(v)
	if err != nil {
		return explain(err)
	}
	if i := skipSpace(b, end); i < len(b) {
		return fmt.Errorf("there is more after the end of the value (byte %d)", i+1)
	}
	return nil
}

// validateLine is validate for a line of a batch: escapes of lone surrogates are
// allowed, bytes that are not UTF-8 are not. jsontext has one option for both.
func validateLine(line []byte) error {
	err := validate(line)
	if err == nil || !utf8.Valid(line) {
		return err
	}
	return validate(line, jsontext.AllowInvalidUTF8(true))
}

// explain describes an error of the tokenizer.
func explain(err error) error {
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("it is empty")
	case !ok:
		return err
	case errors.Is(err, jsontext.ErrDuplicateName):
		at := ""
		if parent := syntactic.JSONPointer.Parent(); parent != "" {
			at = fmt.Sprintf(" within '%s'", clip(string(parent)))
		}
		return fmt.Errorf("the key '%s' appears twice%s", clip(syntactic.JSONPointer.LastToken()), at)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends in the middle of a value")
	default:
		reason := strings.TrimPrefix(syntactic.Err.Error(), "jsontext: ")
		return fmt.Errorf("%s (byte %d)", reason, syntactic.ByteOffset+1)
	}
}

// clipLength is the number of bytes of a client's text that a message repeats.
const clipLength = 100

// clip shortens text of a client for an error message.
func clip(s string) string {
	if len(s) > clipLength {
		end := clipLength
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
