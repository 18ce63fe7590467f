package besh

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"testing"

	"github.com/tidegate/tidegate/internal/openai"
)

const key = "besh-key"

// script is a script of BESH with its authentication, for the API routes and for the
// report routes.
type script struct {
	t       *testing.T
	url     string // of the gateway
	work    func(*http.Request)
	reports func(*http.Request)
	second  bool // it is of the second generation
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func password(name string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, key) }
}

// scripts returns the scripts of both generations by their authentication.
func scripts(t *testing.T, url string) map[string]script {
	t.Helper()
	return map[string]script{
		"X-API-Key": {t, url, header("X-API-Key", key), header("X-API-Key", key), false},
		"Api-Key":   {t, url, header("Api-Key", key), password("admin"), true},
		"bearer":    {t, url, header("Authorization", "Bearer "+key), password("admin"), true},
	}
}

// do sends a request and returns the status and the body of the answer.
func (s script) do(show func(*http.Request), method, path, contentType string, body io.Reader) (int, []byte) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	show(r)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(got.Body)
	if err := errors.Join(err, got.Body.Close()); err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got.StatusCode, text
}

// read decodes an answer of 200.
func read[T any](s script, show func(*http.Request), method, path, contentType string, body io.Reader) T {
	s.t.Helper()
	var into T
	status, text := s.do(show, method, path, contentType, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %s: got %d %s, want 200", method, path, status, text)
	}
	if err := json.Unmarshal(text, &into); err != nil {
		s.t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	return into
}

func get[T any](s script, path string) T {
	s.t.Helper()
	return read[T](s, s.work, http.MethodGet, path, "", nil)
}

// report reads a route that BESH protects by name and password.
func report[T any](s script, path string) T {
	s.t.Helper()
	return read[T](s, s.reports, http.MethodGet, path, "", nil)
}

// upload sends a file alone, without a purpose.
func (s script) upload(name string, content []byte) openai.File {
	s.t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = part.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		s.t.Fatal(err)
	}
	return read[openai.File](s, s.work, http.MethodPost, "/v1/files", w.FormDataContentType(), &form)
}

// create makes a batch without a completion window.
func (s script) create(file string) openai.Batch {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"input_file_id": file, "endpoint": "/v1/chat/completions"})
	if err != nil {
		s.t.Fatal(err)
	}
	return read[openai.Batch](s, s.work, http.MethodPost, "/v1/batches", "application/json", bytes.NewReader(body))
}

// page is a list of objects with ids.
type page struct {
	Data    []struct{ ID string }
	HasMore bool `json:"has_more"`
}

// deleteAll makes the calls of delete_x.py: it lists and deletes until the list is empty,
// and fails if a round deletes no object.
func (s script) deleteAll(kind string) (deleted []string) {
	s.t.Helper()
	for {
		list := report[page](s, "/v1/"+kind+"?limit=100")
		if len(list.Data) == 0 {
			return deleted
		}
		for _, object := range list.Data {
			status, text := s.do(s.work, http.MethodDelete, "/v1/"+kind+"/"+object.ID, "", nil)
			if status != http.StatusOK {
				s.t.Fatalf("deleting %s: got %d %s, want 200", object.ID, status, text)
			}
			deleted = append(deleted, object.ID)
		}
	}
}
