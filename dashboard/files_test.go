package dashboard_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// send uploads files from one form.
func (h *harness) send(names []string, content string) *httptest.ResponseRecorder {
	h.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, name := range names {
		file, err := form.CreateFormFile("file", name)
		if err != nil {
			h.Fatal(err)
		}
		if _, err := io.WriteString(file, content); err != nil {
			h.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		h.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/dashboard/new/upload", &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return h.do(r)
}

func TestSeveralUploads(t *testing.T) {
	h := build(t, nil)
	w := h.send([]string{"a.jsonl", "b.jsonl", "c.jsonl"}, "{\"custom_id\":\"a\"}\n")
	if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != "/dashboard/files?done=stored&purpose=batch" {
		t.Fatalf("%d, leads to %q", w.Code, to)
	}
	if done, want := h.Done(), []string{"upload a.jsonl", "upload b.jsonl", "upload c.jsonl"}; !slices.Equal(done, want) {
		t.Errorf("did %q, want %q", done, want)
	}
	page := h.page("/files?done=stored&purpose=batch")
	for _, id := range h.FileIDs()[:3] {
		if !strings.Contains(page, `href="/dashboard/new?file=`+id+`"`) {
			t.Errorf("no batch can be made of %s", id)
		}
	}
	names := make([]string, 21)
	for i := range names {
		names[i] = fmt.Sprintf("%d.jsonl", i)
	}
	w = h.send(names, "{\"custom_id\":\"a\"}\n")
	if text := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(text, "At most 20 files") || !strings.Contains(text, "20 files were stored") {
		t.Errorf("21 files: %d\n%s", w.Code, text)
	}
}

func TestFileSearch(t *testing.T) {
	h := build(t, nil)
	named := func(path string) (names []string) {
		for _, line := range strings.Split(h.page(path), `class="head"`)[1:] {
			_, rest, _ := strings.Cut(line, `class="name">`)
			name, _, _ := strings.Cut(rest, "<")
			names = append(names, name)
		}
		return names
	}
	if got := named("/files?q=NIGHTLY"); len(got) == 0 || slices.ContainsFunc(got, func(n string) bool { return !strings.Contains(n, "nightly") }) {
		t.Errorf("found %q", got)
	}
	id := h.FileIDs()[2]
	if got := named("/files?q=" + id); len(got) != 1 {
		t.Errorf("by its id: %q", got)
	}
	if page := h.page("/files?q=hourly&purpose=batch"); !strings.Contains(page, "&amp;purpose=batch&amp;q=hourly") {
		t.Error("the next page forgets the search")
	}
	if page := h.page("/files?q=nothing+like+it"); !strings.Contains(page, "No file matches") {
		t.Error("the page does not say that no file was found")
	}
	if w := h.get("/files?q=" + strings.Repeat("x", 201)); w.Code != http.StatusBadRequest {
		t.Errorf("a long text: %d, want 400", w.Code)
	}
}
