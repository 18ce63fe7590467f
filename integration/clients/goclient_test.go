package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// goClient is the library without retries, which would hide failures of the gateway.
type goClient struct {
	openai.Client
	http *http.Client
}

func newGoClient(gateway *tidegatetest.Gateway, key string) goClient {
	// A separate transport: a test ends with all of its connections closed.
	httpClient := &http.Client{Transport: &http.Transport{}}
	return goClient{openai.NewClient(
		option.WithBaseURL(gateway.URL+"/v1"), option.WithAPIKey(key),
		option.WithMaxRetries(0), option.WithHTTPClient(httpClient)), httpClient}
}

func TestGo(t *testing.T) {
	gateway, sims := start(t)
	c := newGoClient(gateway, apiKey)
	t.Cleanup(c.http.CloseIdleConnections)
	t.Run("files", c.testFiles)
	t.Run("uploads", c.testUploads)
	t.Run("batches", c.testBatches)
	t.Run("live", func(t *testing.T) { c.testLive(t, sims) })
	t.Run("key is wanted", func(t *testing.T) {
		wrong := newGoClient(gateway, apiKey+"x")
		defer wrong.http.CloseIdleConnections()
		_, err := wrong.Models.List(t.Context())
		wantError(t, err, http.StatusUnauthorized, "", "invalid_api_key")
		_, err = wrong.Batches.List(t.Context(), openai.BatchListParams{})
		wantError(t, err, http.StatusUnauthorized, "", "invalid_api_key")
		_, err = wrong.upload(t.Context(), "a", `{}`)
		wantError(t, err, http.StatusUnauthorized, "", "invalid_api_key")
	})
}

// wantError asserts that a call failed as the library's own error.
func wantError(t *testing.T, err error, status int, param, code string) {
	t.Helper()
	e, ok := errors.AsType[*openai.Error](err)
	if !ok {
		t.Fatalf("got the error %v, want one with status %d", err, status)
	}
	if e.StatusCode != status || e.Param != param || e.Code != code || e.Type != "invalid_request_error" || e.Message == "" {
		t.Errorf("got status %d, param %q, code %q, type %q, message %q; want %d, %q, %q",
			e.StatusCode, e.Param, e.Code, e.Type, e.Message, status, param, code)
	}
}

// must ends the test on an error.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// batchLines are lines of chat completions.
func batchLines(t *testing.T, name string, count int, marker string) string {
	t.Helper()
	var b strings.Builder
	for i := range count {
		body := tidegatetest.ChatBody(t, fmt.Sprintf("%s %s %d", marker, name, i), false)
		fmt.Fprintf(&b, `{"custom_id":"%s-%d","method":"POST","url":"/v1/chat/completions","body":%s}`+"\n", name, i, body)
	}
	return b.String()
}

func (c goClient) upload(ctx context.Context, name, content string) (*openai.FileObject, error) {
	return c.Files.New(ctx, openai.FileNewParams{
		File:    openai.File(strings.NewReader(content), name+".jsonl", "application/jsonl"),
		Purpose: openai.FilePurposeBatch,
	})
}

func (c goClient) content(t *testing.T, id string) string {
	t.Helper()
	answer := must[*http.Response](t)(c.Files.Content(t.Context(), id))
	defer answer.Body.Close()
	return string(must[[]byte](t)(io.ReadAll(answer.Body)))
}

// submit uploads an input and makes a batch of it.
func (c goClient) submit(t *testing.T, name, content string) *openai.Batch {
	t.Helper()
	file := must[*openai.FileObject](t)(c.upload(t.Context(), name, content))
	return must[*openai.Batch](t)(c.Batches.New(t.Context(), openai.BatchNewParams{
		InputFileID: file.ID, Endpoint: openai.BatchNewParamsEndpointV1ChatCompletions,
		CompletionWindow: openai.BatchNewParamsCompletionWindow24h,
	}))
}

// poll retrieves a batch until a condition is true.
func (c goClient) poll(t *testing.T, id string, until func(*openai.Batch) bool) *openai.Batch {
	t.Helper()
	var b *openai.Batch
	tidegatetest.Eventually(t, time.Minute, "the batch "+id, func() bool {
		b = must[*openai.Batch](t)(c.Batches.Get(t.Context(), id))
		return until(b)
	})
	return b
}

func ended(b *openai.Batch) bool {
	switch b.Status {
	case openai.BatchStatusCompleted, openai.BatchStatusFailed, openai.BatchStatusExpired, openai.BatchStatusCancelled:
		return true
	default:
		return false
	}
}

// results are the lines of an output or error file.
func (c goClient) results(t *testing.T, id string) []tidegatetest.Result {
	t.Helper()
	var list []tidegatetest.Result
	for line := range bytes.Lines([]byte(c.content(t, id))) {
		var r tidegatetest.Result
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("decoding a result: %v: %s", err, line)
		}
		list = append(list, r)
	}
	return list
}
