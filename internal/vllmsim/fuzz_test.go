package vllmsim_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// Any body gets an answer that is JSON or a refusal, and the server gives what
// Expected computes.
func FuzzAnswer(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		path, body, _ := strings.Cut(examples[name], " ")
		f.Add(path, body)
	}
	f.Add(chatPath, `{"messages":[{"content":[{"text":`)
	f.Add("/v1/rerank", `{"model":"sim","query":1,"documents":[1,[2],{},"",null]}`)
	s := vllmsim.New(vllmsim.Config{})
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, path, body string) {
		if strings.Contains(body, "[[sim:") && !strings.Contains(body, "[[sim:tokens=100]]") {
			return // hang would hang
		}
		want, err := vllmsim.Expected(path, []byte(body))
		refusal, refused := errors.AsType[*vllmsim.Refusal](err)
		switch {
		case err != nil && !refused:
			return // the answer depends on the server
		case err == nil && !json.Valid(want):
			t.Fatalf("no JSON: %s", want)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.URL.Path = path
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		switch {
		case refused && w.Code != refusal.Status:
			t.Fatalf("status %d, want %v", w.Code, refusal)
		case err == nil && w.Code == http.StatusOK && !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") && w.Body.String() != string(want):
			t.Fatalf("served %s, want %s", w.Body, want)
		}
	})
}
