package caddymodule

import (
	"net/http"
	"slices"

	"github.com/tidegate/tidegate/internal/openai"
)

// cors lists the origins whose web pages may use the API, "*" for all. Pages send no
// cookies: credentials are never allowed.
type cors []string

// exposed lists the headers of an answer that a page may read.
const exposed = "X-Request-Id, Retry-After, X-Should-Retry, OpenAI-Processing-Ms"

// allowed returns the value of Access-Control-Allow-Origin for an origin, "" if it
// may not use the API.
func (c cors) allowed(origin string) string {
	switch {
	case origin == "":
		return ""
	case slices.Contains(c, "*"):
		return "*"
	case slices.Contains(c, origin):
		return origin
	}
	return ""
}

// handle adds the CORS headers to the answer, and answers preflight requests; then it
// returns true.
func (c cors) handle(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	h := w.Header()
	method := r.Header.Get("Access-Control-Request-Method")
	preflight := r.Method == http.MethodOptions && method != ""
	allowed := c.allowed(origin)
	if len(c) > 0 && allowed != "*" {
		h.Add("Vary", "Origin")
	}
	if allowed == "" {
		if preflight {
			openai.WriteError(w, r, forbidden("cross_origin", "Web pages of the origin '%s' may not use this gateway. Its operator can allow the origin: `cors %s` in the tidegate block.", clipName(origin), clipName(origin)))
		}
		return preflight
	}
	h.Set("Access-Control-Allow-Origin", allowed)
	h.Set("Access-Control-Expose-Headers", exposed)
	if !preflight {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS")
	if names := r.Header.Get("Access-Control-Request-Headers"); names != "" {
		h.Set("Access-Control-Allow-Headers", names)
		h.Add("Vary", "Access-Control-Request-Headers")
	}
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
