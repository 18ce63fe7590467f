package vllmsim

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Refusal is the answer to a request that vLLM would not run.
type Refusal struct {
	Status  int
	Type    string // vLLM's name for it, such as "NotFoundError"
	Message string
	Param   string // "" is written as null
}

// Error is the status with the message.
func (r *Refusal) Error() string { return fmt.Sprintf("%d: %s", r.Status, r.Message) }

// refusalOf is the refusal that err is or wraps.
func refusalOf(err error) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	return badRequest("", "%s", err)
}

// appendBody writes vLLM's envelope (vllm/entrypoints/openai/engine/protocol.py,
// ErrorResponse). Unlike OpenAI's, its code is a number.
func (r *Refusal) appendBody(dst []byte) []byte {
	dst = append(dst, `{"error":{"message":`...)
	dst = quote(dst, r.Message)
	dst = append(dst, `,"type":`...)
	dst = quote(dst, r.Type)
	dst = append(dst, `,"param":`...)
	if r.Param == "" {
		dst = append(dst, "null"...)
	} else {
		dst = quote(dst, r.Param)
	}
	dst = append(dst, `,"code":`...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	return append(dst, "}}"...)
}

// appendAnthropic writes the envelope of /v1/messages.
func (r *Refusal) appendAnthropic(dst []byte) []byte {
	dst = append(dst, `{"type":"error","error":{"type":`...)
	dst = quote(dst, r.Type)
	dst = append(dst, `,"message":`...)
	dst = quote(dst, r.Message)
	return append(dst, "}}"...)
}

// badRequest returns vLLM's error for an invalid value.
func badRequest(param, format string, args ...any) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Type: "BadRequestError", Message: fmt.Sprintf(format, args...), Param: param}
}

// invalidField returns an error of FastAPI's validation in vLLM's envelope.
func invalidField(typ, field, msg string) *Refusal {
	return &Refusal{
		Status: http.StatusBadRequest, Type: "Bad Request", Param: field,
		Message: fmt.Sprintf("1 validation error:\n  {'type': '%s', 'loc': ('body', '%s'), 'msg': '%s'}", typ, field, msg),
	}
}

func missingField(field string) *Refusal {
	return invalidField("missing", field, "Field required")
}

// invalidJSON is the refusal of a body that is not JSON; offset is in bytes.
func invalidJSON(offset int64, cause string) *Refusal {
	return &Refusal{
		Status: http.StatusBadRequest, Type: "Bad Request",
		Message: fmt.Sprintf("1 validation error:\n  {'type': 'json_invalid', 'loc': ('body', %d), 'msg': 'JSON decode error', 'input': {}, 'ctx': {'error': '%s'}}", offset, cause),
	}
}

func unknownModel(model string) *Refusal {
	return &Refusal{
		Status: http.StatusNotFound, Type: "NotFoundError", Param: "model",
		Message: fmt.Sprintf("The model `%s` does not exist.", model),
	}
}

// quote appends s as a JSON string.
func quote[Bytes ~[]byte | ~string](dst []byte, s Bytes) []byte {
	// The error is about invalid UTF-8, which is written as U+FFFD.
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}
