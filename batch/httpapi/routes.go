package httpapi

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/internal/openai"
)

// endpoint handles one method of one route. An error becomes the response, so it must be
// returned before anything is written.
type endpoint func(w http.ResponseWriter, r *http.Request, id string) error

// route is a path with its methods.
type route struct {
	path    string // "*" matches an id, "#" a number
	object  object // kind of object that the id refers to
	methods map[string]endpoint
}

// object is a kind of object with ids.
type object struct {
	id      *regexp.Regexp
	missing func(id string) *openai.Error
}

var (
	fileObject   = object{regexp.MustCompile(`^file-[A-Za-z0-9]{1,64}$`), openai.NoSuchFile}
	uploadObject = object{regexp.MustCompile(`^upload_[A-Za-z0-9]{1,64}$`), openai.NoSuchUpload}
	batchObject  = object{regexp.MustCompile(`^batch_[A-Za-z0-9]{1,64}$`), openai.NoSuchBatch}
)

func (h *handler) table() []route {
	return []route{
		{"/v1/files", object{}, map[string]endpoint{"GET": h.listFiles, "POST": h.createFile}},
		{"/v1/files/*", fileObject, map[string]endpoint{"GET": h.getFile, "DELETE": h.deleteFile}},
		{"/v1/files/*/content", fileObject, map[string]endpoint{"GET": h.downloadFile}},
		{"/v1/uploads", object{}, map[string]endpoint{"POST": h.createUpload}},
		{"/v1/uploads/*/parts", uploadObject, map[string]endpoint{"POST": h.addPart}},
		{"/v1/uploads/*/complete", uploadObject, map[string]endpoint{"POST": h.completeUpload}},
		{"/v1/uploads/*/cancel", uploadObject, map[string]endpoint{"POST": h.cancelUpload}},
		{"/v1/batches", object{}, map[string]endpoint{"GET": h.listBatches, "POST": h.createBatch}},
		// These names are not ids: see reports.go.
		{"/v1/batches/status", object{}, map[string]endpoint{"GET": h.reportStatus}},
		{"/v1/dashboard", object{}, map[string]endpoint{"GET": h.reportDashboard}},
		{"/v1/batches/dashboard", object{}, map[string]endpoint{"GET": h.reportOldDashboard}},
		{"/v1/analytics/timeline", object{}, map[string]endpoint{"GET": h.reportTimeline}},
		{"/v1/batches/analytics/timeline", object{}, map[string]endpoint{"GET": h.reportTimeline}},
		{"/v1/analytics/tokens", object{}, map[string]endpoint{"GET": h.reportTokens}},
		{"/v1/batches/analytics/tokens", object{}, map[string]endpoint{"GET": h.reportTokens}},
		{"/v1/batches/demand", object{}, map[string]endpoint{"GET": h.getDemand}},
		{"/v1/batches/*/token_usage", batchObject, map[string]endpoint{"GET": h.reportBatchTokens}},
		{"/v1/batches/*", batchObject, map[string]endpoint{"GET": h.getBatch, "DELETE": h.deleteBatch}},
		{"/v1/batches/*/cancel", batchObject, map[string]endpoint{"POST": h.cancelBatch}},
		{"/v1/batches/*/pause", batchObject, map[string]endpoint{"POST": h.pauseBatch}},
		{"/v1/batches/*/resume", batchObject, map[string]endpoint{"POST": h.resumeBatch}},
		{"/v1/batches/*/priority", batchObject, map[string]endpoint{"POST": h.prioritizeBatch}},
		{"/v1/batches/*/retry_failed", batchObject, map[string]endpoint{"POST": h.retryFailed}},
		{"/v1/batches/*/results", batchObject, map[string]endpoint{"GET": h.listLines}},
		{"/v1/batches/*/output", batchObject, map[string]endpoint{"GET": h.getOutput}},
		{"/v1/batches/*/errors", batchObject, map[string]endpoint{"GET": h.getErrors}},
		{"/v1/batches/*/lines/#", batchObject, map[string]endpoint{"GET": h.getLine}},
	}
}

// find returns the first route that matches a path, and the id in the path. The path is
// compared as it was sent: paths with escapes or dot segments do not match. A trailing
// slash is ignored, because BESH redirects such paths to those without.
func (h *handler) find(path string) (route, string, bool) {
	path = strings.TrimSuffix(path, "/")
	segments := strings.Split(path, "/")
	for _, rt := range h.routes {
		if id, ok := match(strings.Split(rt.path, "/"), segments); ok {
			return rt, id, rt.methods != nil
		}
	}
	return route{}, "", false
}

func match(pattern, segments []string) (id string, ok bool) {
	if len(pattern) != len(segments) {
		return "", false
	}
	for i, p := range pattern {
		switch {
		case p == segments[i]:
		case p == "*" && segments[i] != "":
			id = segments[i]
		case p == "#" && segments[i] != "":
		default:
			return "", false
		}
	}
	return id, true
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	rt, id, ok := h.find(path)
	if !ok {
		openai.WriteError(w, r, openai.UnknownRoute(r.Method, clip(path)))
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // the server leaves the body out
	}
	do, ok := rt.methods[method]
	if !ok {
		w.Header().Set("Allow", allowed(rt.methods))
		openai.WriteError(w, r, openai.MethodNotAllowed(r.Method, clip(path)))
		return
	}
	missing := func() *openai.Error { return rt.object.missing(clip(id)) }
	// An invalid query is reported for every id, even for one that cannot exist.
	if rt.object.id != nil && !rt.object.id.MatchString(id) && (method == http.MethodPost || r.URL.RawQuery == "") {
		openai.WriteError(w, r, missing())
		return
	}
	if err := do(w, r, id); err != nil {
		h.refuse(w, r, err, missing)
	}
}

func allowed(methods map[string]endpoint) string {
	names := slices.Sorted(maps.Keys(methods))
	if i := slices.Index(names, http.MethodGet); i >= 0 {
		names = slices.Insert(names, i+1, http.MethodHead)
	}
	return strings.Join(names, ", ")
}

// clip shortens text of a client for an error message.
func clip(s string) string {
	const limit = 200 // bytes
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
