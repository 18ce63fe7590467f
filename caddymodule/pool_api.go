package caddymodule

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams"
)

// upstreamObject is a server of the pool in the API.
type upstreamObject struct {
	Object string `json:"object"` // "upstream"
	upstreams.UpstreamStatus
}

// upstreamList is the response of GET /upstreams.
type upstreamList struct {
	Object string           `json:"object"` // "list"
	Data   []upstreamObject `json:"data"`
}

// maxDrainBody limits the body of a drain request, in bytes.
const maxDrainBody = 64 << 10

// upstreams serves GET /upstreams, and POST /upstreams/drain and /undrain with the
// body {"url": …}. Each response lists all servers.
func (h *APIHandler) upstreams(w http.ResponseWriter, r *http.Request, path string) {
	pool := h.app.runtime.pool
	var change func(url string) error
	switch path {
	case "/upstreams/drain":
		change = h.app.runtime.audited(r.Context(), batch.AuditServerDrain, func(url string) error {
			return pool.DrainBy(url, "an API request from "+clientAddress(r))
		})
	case "/upstreams/undrain":
		change = h.app.runtime.audited(r.Context(), batch.AuditServerUndrain, pool.Undrain)
	default:
		if !reads(w, r) {
			return
		}
	}
	if change != nil && r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		openai.WriteError(w, r, openai.MethodNotAllowed(r.Method, path))
		return
	}
	if change != nil && !changeUpstream(w, r, change) {
		return
	}
	list := upstreamList{Object: "list", Data: []upstreamObject{}}
	for _, u := range pool.Status() {
		list.Data = append(list.Data, upstreamObject{"upstream", u.For(clientOf(r))})
	}
	writeJSON(w, r, http.StatusOK, list)
}

// remoteHost returns the client's address without its port.
func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// changeUpstream changes the server that the body names, or answers with an error.
func changeUpstream(w http.ResponseWriter, r *http.Request, change func(url string) error) (ok bool) {
	var request struct {
		URL string `json:"url"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDrainBody)).Decode(&request)
	if refused, ok := errors.AsType[*openai.Error](err); ok { // it arrived too slowly
		openai.WriteError(w, r, refused)
		return false
	}
	if err != nil || request.URL == "" {
		openai.WriteError(w, r, openai.InvalidRequest("url", "", "The body must be a JSON object with the url of a server: {\"url\": \"http://gpu-0:8000\"}."))
		return false
	}
	if err := change(request.URL); err != nil {
		openai.WriteError(w, r, openai.NotFound("url", "The pool has no server '%s'. GET /upstreams lists them.", request.URL))
		return false
	}
	return true
}
