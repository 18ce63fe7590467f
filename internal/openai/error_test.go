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
			WriteError(w, test.err)
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
