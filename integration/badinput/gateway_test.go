package badinput

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// gateway is the real program with one simulated server, and small limits.
type gateway struct {
	url  string
	data string
}

// startGateway starts a gateway whose limits are small enough to be broken.
func startGateway(t *testing.T) *gateway {
	t.Helper()
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: tidegatetest.StartSims(t, 1),
		Batch: `
			max_file_size    32MiB
			max_line_size    1MiB
			max_requests     2000
			collect_interval 20ms
		`,
	})
	return &gateway{url: g.URL, data: g.Data}
}

// answer is a response of the gateway.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends one request; no Content-Type when it is empty.
func (g *gateway) send(t *testing.T, method, path, contentType, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, g.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	// Unchanged by net/url.
	request.URL.Opaque = "//" + request.URL.Host + path
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{got.StatusCode, got.Header, string(text)}
}

// want checks status and envelope; "*" stands for any param or code.
func (a answer) want(t *testing.T, status int, param, code string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	var envelope struct {
		Error map[string]any `json:"error"`
	}
	if err := json.Unmarshal([]byte(a.body), &envelope); err != nil {
		t.Fatalf("no envelope: %s", a.body)
	}
	e := envelope.Error
	for _, key := range []string{"message", "type", "param", "code"} {
		if _, there := e[key]; !there {
			t.Errorf("no %q in %s", key, a.body)
		}
	}
	if message, _ := e["message"].(string); message == "" {
		t.Errorf("no message in %s", a.body)
	}
	gotParam, _ := e["param"].(string)
	gotCode, _ := e["code"].(string)
	if param != "*" && gotParam != param {
		t.Errorf("param %q, want %q: %s", gotParam, param, a.body)
	}
	if code != "*" && gotCode != code {
		t.Errorf("code %q, want %q: %s", gotCode, code, a.body)
	}
}

func decode[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}

func (a answer) file(t *testing.T) openai.File {
	t.Helper()
	return decode[openai.File](t, a)
}

// runBatch uploads content, makes a batch of it and waits for its end.
func (g *gateway) runBatch(t *testing.T, content string) openai.Batch {
	t.Helper()
	f := g.send(t, http.MethodPost, "/v1/files", multipartType, form(field("purpose", "batch"), file("in.jsonl", content))).file(t)
	create, err := json.Marshal(map[string]string{"input_file_id": f.ID, "endpoint": "/v1/chat/completions", "completion_window": "24h"})
	if err != nil {
		t.Fatal(err)
	}
	b := decode[openai.Batch](t, g.send(t, http.MethodPost, "/v1/batches", "application/json", string(create)))
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-poll.C {
		b = decode[openai.Batch](t, g.send(t, http.MethodGet, "/v1/batches/"+b.ID, "", ""))
		switch b.Status {
		case "completed", "failed", "expired", "cancelled":
			return b
		}
	}
	t.Fatalf("batch did not end: %+v", b)
	return b
}

// lines are the lines of a file.
func (g *gateway) lines(t *testing.T, fileID string) []string {
	t.Helper()
	a := g.send(t, http.MethodGet, "/v1/files/"+fileID+"/content", "", "")
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	return strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
}

// remove deletes a batch with its files.
func (g *gateway) remove(t *testing.T, b openai.Batch) {
	t.Helper()
	decode[openai.Deleted](t, g.send(t, http.MethodDelete, "/v1/batches/"+b.ID+"?input=true", "", ""))
}

// wantNothingLeft asserts that there is no file, no batch and, after a run of the cleaner,
// no content.
func (g *gateway) wantNothingLeft(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/v1/files", "/v1/batches"} {
		list := decode[openai.List[map[string]any]](t, g.send(t, http.MethodGet, path, "", ""))
		if len(list.Data) > 0 {
			t.Errorf("%s: %v is left", path, list.Data)
		}
	}
	var left []string
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-poll.C {
		if left = g.contents(t); len(left) == 0 {
			return
		}
	}
	t.Errorf("contents are left: %v", left)
}

// contents are the files in the directory of contents.
func (g *gateway) contents(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(filepath.Join(g.data, "files"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // just removed
			return nil
		case err != nil:
			return err
		case !d.IsDir() && !strings.HasSuffix(d.Name(), "lock") && d.Name() != "place": // files that are not contents
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
