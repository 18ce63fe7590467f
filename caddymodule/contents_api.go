package caddymodule

import (
	"net/http"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// adopted is the answer of POST /contents/adopt.
type adopted struct {
	Object  string `json:"object"` // "contents"
	Adopted bool   `json:"adopted"`
}

// adopt makes the engine accept the existing contents as those of its database at the
// next attempt to open it, which is made every second or two.
func (h *APIHandler) adopt(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		openai.WriteError(w, r, openai.MethodNotAllowed(r.Method, r.URL.Path))
		return
	}
	rt := h.app.runtime
	if rt.open.Load() {
		openai.WriteError(w, r, openai.Conflict("Files and batches are open: there is nothing to adopt."))
		return
	}
	rt.engine.AdoptContents()
	rt.auditAction(r.Context(), batch.AuditContentsAdopt, "")
	writeJSON(w, r, http.StatusOK, adopted{"contents", true})
}
