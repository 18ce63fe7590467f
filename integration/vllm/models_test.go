package vllm

import (
	"net/http"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmtest"
)

// The gateway lists the model once, with its context length, and refuses others.
func (s *suite) models(t *testing.T) {
	gateway := s.serve(t)
	var list struct {
		Data []struct {
			ID          string
			MaxModelLen int64 `json:"max_model_len"`
		}
	}
	gateway.Get(t, "/v1/models", &list)
	if len(list.Data) != 1 || list.Data[0].ID != model || list.Data[0].MaxModelLen != vllmtest.MaxModelLen {
		t.Errorf("models are %+v, want %s with a context of %d", list.Data, model, vllmtest.MaxModelLen)
	}
	got, err := post(t.Context(), gateway.URL, chatPath, chat("Who?", 1).with(body{"model": "unknown"}))
	if err != nil || got.status != http.StatusNotFound {
		t.Errorf("for an unknown model the answer is %d, %v: %s; want 404", got.status, err, got.body)
	}
}
