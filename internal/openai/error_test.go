package openai

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestWriteError(t *testing.T) {
	tests := map[string]struct {
		err    error
		status int
		header map[string]string
		body   string
	}{
		"missing parameter": {
			MissingParameter("input_file_id"), 400,
			map[string]string{"Retry-After": "", "X-Should-Retry": ""},
			`{"error":{"message":"Missing required parameter: 'input_file_id'.","type":"invalid_request_error","param":"input_file_id","code":"missing_required_parameter"}}`,
		},
		"value": {
			InvalidValue("endpoint", "/x", "/a", "/b", "/c"), 400, nil,
			`{"error":{"message":"Invalid value: '/x'. Supported values are: '/a', '/b', and '/c'.","type":"invalid_request_error","param":"endpoint","code":"invalid_value"}}`,
		},
		"type": {
			InvalidType("metadata.k", "a string", "an array"), 400, nil,
			`{"error":{"message":"Invalid type for 'metadata.k': expected a string, but got an array instead.","type":"invalid_request_error","param":"metadata.k","code":"invalid_type"}}`,
		},
		"no such file": {
			NoSuchFile("file-1"), 404, nil,
			`{"error":{"message":"No such File object: file-1","type":"invalid_request_error","param":"id","code":null}}`,
		},
		"no such batch": {
			NoSuchBatch("batch_1"), 404, nil,
			`{"error":{"message":"No batch found with id 'batch_1'.","type":"invalid_request_error","param":null,"code":null}}`,
		},
		"key": {
			InvalidAPIKey(), 401, nil,
			`{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`,
		},
		"conflict": {
			Conflict("Cannot cancel a batch with status '%s'.", "completed"), 409,
			map[string]string{"X-Should-Retry": "false"},
			`{"error":{"message":"Cannot cancel a batch with status 'completed'.","type":"invalid_request_error","param":null,"code":null}}`,
		},
		"unavailable": {
			Unavailable(1500*time.Millisecond, "Starting."), 503,
			map[string]string{"Retry-After": "2"},
			`{"error":{"message":"Starting.","type":"server_error","param":null,"code":null}}`,
		},
		"unavailable for no time": {
			Unavailable(0, "Starting."), 503,
			map[string]string{"Retry-After": "1"},
			`{"error":{"message":"Starting.","type":"server_error","param":null,"code":null}}`,
		},
		"wrapped": {
			fmt.Errorf("opening: %w", ModelNotFound("m").WithCause(io.ErrUnexpectedEOF)), 404, nil,
			`{"error":{"message":"The model 'm' does not exist or you do not have access to it.","type":"invalid_request_error","param":"model","code":"model_not_found"}}`,
		},
		"another error": {
			errors.New("password is hunter2"), 500, nil,
			`{"error":{"message":"The server had an error processing your request.","type":"server_error","param":null,"code":null}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("Content-Length", "7")
			w.Header().Set("Content-Encoding", "gzip")
			WriteError(w, httptest.NewRequest(http.MethodPost, "/v1/batches", nil), test.err)
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("got %d %s\nwant %d %s", w.Code, w.Body, test.status, test.body)
			}
			want := map[string]string{"Content-Type": "application/json", "Content-Length": fmt.Sprint(len(test.body)), "Content-Encoding": ""}
			maps.Copy(want, test.header)
			for name, value := range want {
				if got := w.Header().Get(name); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
		})
	}
}

// The form and the type of an error follow the path and the status.
func TestWriteErrorOfMessages(t *testing.T) {
	for status, kind := range map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
		405: "invalid_request_error", 408: "invalid_request_error", 409: "invalid_request_error", 413: "request_too_large",
		415: "invalid_request_error", 421: "invalid_request_error", 422: "invalid_request_error", 429: "rate_limit_error",
		500: "api_error", 502: "api_error", 503: "overloaded_error", 504: "timeout_error", 507: "api_error", 529: "overloaded_error",
	} {
		e := &Error{Status: status, Message: "Say <why>.", Type: TypeServer, Param: "model", RetryAfter: time.Second}
		for path, want := range map[string]string{
			"/v1/messages":              `{"type":"error","error":{"type":"` + kind + `","message":"Say \u003cwhy\u003e."}}`,
			"/v1/messages/count_tokens": `{"type":"error","error":{"type":"` + kind + `","message":"Say \u003cwhy\u003e."}}`,
			"/v1/messages/batches":      `{"type":"error","error":{"type":"` + kind + `","message":"Say \u003cwhy\u003e."}}`,
			"/v1/messagesx":             `{"error":{"message":"Say \u003cwhy\u003e.","type":"server_error","param":"model","code":null}}`,
			"/v1/chat/completions":      `{"error":{"message":"Say \u003cwhy\u003e.","type":"server_error","param":"model","code":null}}`,
		} {
			w := httptest.NewRecorder()
			WriteError(w, httptest.NewRequest(http.MethodPost, path+"?beta=true", nil), e)
			if w.Code != status || w.Body.String() != want || w.Header().Get("Retry-After") != "1" {
				t.Errorf("%s: got %d %s %v\nwant %d %s", path, w.Code, w.Body, w.Header(), status, want)
			}
		}
	}
}

func TestErrorKeepsItsCauseForLogs(t *testing.T) {
	plain := UnknownRoute(http.MethodGet, "/v1/x")
	e := plain.WithCause(io.ErrUnexpectedEOF)
	if !errors.Is(e, io.ErrUnexpectedEOF) || !strings.Contains(e.Error(), io.ErrUnexpectedEOF.Error()) {
		t.Errorf("the cause is lost in %v", e)
	}
	if errors.Is(plain, io.ErrUnexpectedEOF) {
		t.Error("WithCause changed its receiver")
	}
}
