package tidegatetest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
)

// apiLimit limits a call of Files or Batches.
const apiLimit = time.Minute

// Request makes a request to the gateway with its API key, and with an
// Idempotency-Key of its content where one is understood.
func (g *Gateway) Request(ctx context.Context, method, path, contentType string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, g.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if g.APIKey != "" {
		request.Header.Set("Authorization", "Bearer "+g.APIKey)
	}
	if path == "/v1/batches" && method == http.MethodPost { // the same body twice is one wish
		sum := sha256.Sum256(body)
		request.Header.Set("Idempotency-Key", hex.EncodeToString(sum[:]))
	}
	return request, nil
}

// Call sends a request and reads the answer whole; any status is an answer.
func (g *Gateway) Call(ctx context.Context, method, path, contentType string, body []byte) (status int, answer []byte, err error) {
	request, err := g.Request(ctx, method, path, contentType, body)
	if err != nil {
		return 0, nil, err
	}
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("asking the gateway: %w", err)
	}
	defer got.Body.Close()
	answer, err = io.ReadAll(got.Body)
	if err != nil {
		return got.StatusCode, answer, fmt.Errorf("reading the gateway's answer: %w", err)
	}
	return got.StatusCode, answer, nil
}

// Ask is Call with a time limit, Patience. If the gateway is persistent, it repeats the call, and
// restarts the gateway, until the status is less than 500.
func (g *Gateway) Ask(tb testing.TB, method, path, contentType string, body []byte) (status int, answer []byte, err error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), cmp.Or(g.Patience, apiLimit))
	defer cancel()
	for {
		status, answer, err = g.Call(ctx, method, path, contentType, body)
		if !g.persistent || ctx.Err() != nil || err == nil && status < http.StatusInternalServerError {
			return status, answer, err
		}
		g.revive(tb)
		<-time.After(20 * time.Millisecond)
	}
}

// Get decodes the answer of 200 to a GET.
func (g *Gateway) Get(tb testing.TB, path string, into any) {
	tb.Helper()
	g.want(tb, http.MethodGet, path, "", nil, into)
}

// Health is the response of /health.
type Health struct {
	Status string
	Batch  struct {
		Store, Queue, Files string
		Contents            string
		Paused              []string
		Role                batch.Role
		Gateways            []engine.Gateway
		InFlight            int64 `json:"in_flight"`
	}
	Upstreams []struct {
		State  string `json:"state"`
		Live   int    `json:"live_in_flight"`
		Batch  int    `json:"batch_in_flight"`
		Others int    `json:"others_in_flight"`
		Limit  int    `json:"batch_limit"`

		Pending       int64 `json:"pending_prefill_tokens"`
		OthersPending int64 `json:"others_pending_prefill_tokens"`
	}
}

// Health requests /health.
func (g *Gateway) Health(tb testing.TB) Health {
	tb.Helper()
	var h Health
	g.Get(tb, "/health", &h)
	return h
}

// Metric is the value of one of its metrics, by name and labels as they are
// printed.
func (g *Gateway) Metric(tb testing.TB, name string) float64 {
	tb.Helper()
	n, ok := g.FindMetric(tb, name)
	if !ok {
		tb.Fatalf("the gateway has no metric %s", name)
	}
	return n
}

// FindMetric is Metric for a metric that may be absent.
func (g *Gateway) FindMetric(tb testing.TB, name string) (n float64, ok bool) {
	tb.Helper()
	address := g.URL
	if g.Admin != "" {
		address = "http://" + g.Admin
	}
	answer, err := http.Get(address + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return n, true
		}
	}
	return 0, false
}

// want sends a request and decodes a 200.
func (g *Gateway) want(tb testing.TB, method, path, contentType string, body []byte, into any) {
	tb.Helper()
	text := g.wantBytes(tb, method, path, contentType, body)
	if err := json.Unmarshal(text, into); err != nil {
		tb.Fatalf("decoding the answer to %s %s: %v: %s", method, path, err, text)
	}
}

func (g *Gateway) wantBytes(tb testing.TB, method, path, contentType string, body []byte) []byte {
	tb.Helper()
	status, text, err := g.Ask(tb, method, path, contentType, body)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	if status != http.StatusOK {
		tb.Fatalf("%s %s answered %d: %s", method, path, status, text)
	}
	return text
}

// Upload stores a batch input.
func (g *Gateway) Upload(tb testing.TB, name string, content []byte) openai.File {
	tb.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	err := w.WriteField("purpose", openai.PurposeBatch)
	if err == nil {
		var part io.Writer
		if part, err = w.CreateFormFile("file", name); err == nil {
			_, err = part.Write(content)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		tb.Fatalf("writing a form: %v", err)
	}
	var file openai.File
	g.want(tb, http.MethodPost, "/v1/files", w.FormDataContentType(), form.Bytes(), &file)
	return file
}

// CreateBatch makes a batch of chat completions.
func (g *Gateway) CreateBatch(tb testing.TB, fileID string) openai.Batch {
	tb.Helper()
	body, err := json.Marshal(map[string]string{"input_file_id": fileID, "endpoint": ChatPath, "completion_window": "24h"})
	if err != nil {
		tb.Fatal(err)
	}
	var b openai.Batch
	g.want(tb, http.MethodPost, "/v1/batches", "application/json", body, &b)
	return b
}

// Submit uploads an input and makes a batch of it.
func (g *Gateway) Submit(tb testing.TB, input []byte) openai.Batch {
	tb.Helper()
	return g.CreateBatch(tb, g.Upload(tb, "input.jsonl", input).ID)
}

// Batch is the state of a batch now.
func (g *Gateway) Batch(tb testing.TB, id string) openai.Batch {
	tb.Helper()
	var b openai.Batch
	g.want(tb, http.MethodGet, "/v1/batches/"+id, "", nil, &b)
	return b
}

// CancelBatch cancels a batch.
func (g *Gateway) CancelBatch(tb testing.TB, id string) openai.Batch {
	tb.Helper()
	var b openai.Batch
	g.want(tb, http.MethodPost, "/v1/batches/"+id+"/cancel", "", nil, &b)
	return b
}

// WaitCompleted waits until so many lines of a batch are done.
func (g *Gateway) WaitCompleted(tb testing.TB, id string, lines int64, limit time.Duration) openai.Batch {
	tb.Helper()
	var b openai.Batch
	reached := Poll(limit, func() bool {
		b = g.Batch(tb, id)
		return b.RequestCounts.Completed >= lines || slices.Contains(terminal, b.Status)
	})
	if !reached || b.RequestCounts.Completed < lines {
		tb.Fatalf("after %s the batch is %s with %+v, want %d completed", limit, b.Status, b.RequestCounts, lines)
	}
	return b
}

var terminal = []string{"completed", "failed", "expired", "cancelled"}

// WaitEnd waits until a batch has ended, in any state.
func (g *Gateway) WaitEnd(tb testing.TB, id string, limit time.Duration) openai.Batch {
	tb.Helper()
	var b openai.Batch
	ended := Poll(limit, func() bool {
		b = g.Batch(tb, id)
		return slices.Contains(terminal, b.Status)
	})
	if !ended {
		tb.Fatalf("after %s the batch is still %s with %+v", limit, b.Status, b.RequestCounts)
	}
	return b
}

// Content returns the content of a file, which is empty for no file ("" or nil id).
func (g *Gateway) Content(tb testing.TB, fileID *string) []byte {
	tb.Helper()
	if fileID == nil || *fileID == "" {
		return nil
	}
	return g.wantBytes(tb, http.MethodGet, "/v1/files/"+*fileID+"/content", "", nil)
}

// Results checks a batch that has ended against its input; see CheckResults.
func (g *Gateway) Results(tb testing.TB, b openai.Batch, input []byte) Results {
	tb.Helper()
	return CheckResults(tb, input, g.Content(tb, b.OutputFileID), g.Content(tb, b.ErrorFileID))
}
