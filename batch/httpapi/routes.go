package httpapi

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/openai"
)

// endpoint handles one method of one route. An error becomes the response, so it must be
// returned before anything is written.
type endpoint func(w http.ResponseWriter, r *http.Request, id string) error

// methods are the methods of a route by name.
type methods map[string]method

// method handles one method of a route for clients with a scope.
type method struct {
	scope access.Scope
	do    endpoint
	lists bool // objects, which may be those of all tenants
}

// reads returns a method for clients that may read the objects of a tenant.
func reads(do endpoint) method { return method{scope: access.Read, do: do} }

// lists returns a method that lists the objects of a tenant.
func lists(do endpoint) method { return method{scope: access.Read, do: do, lists: true} }

// controls returns a method that checks itself who may control a batch.
func controls(do endpoint) method { return method{scope: access.Read, do: do} }

// writes returns a method for clients that may make and change them.
func writes(do endpoint) method { return method{scope: access.Batch, do: do} }

// route is a path with its methods.
type route struct {
	path    string // "*" matches an id, "#" a number
	object  object // kind of object that the id refers to
	methods methods
}

// Route is one method of a route, for tests that must know all.
type Route struct {
	Method, Path string // in Path, "*" stands for an id and "#" for a number
	Scope        access.Scope
}

// Routes returns all routes.
func Routes() (all []Route) {
	for _, rt := range new(handler).table() {
		for _, name := range slices.Sorted(maps.Keys(rt.methods)) {
			all = append(all, Route{name, rt.path, rt.methods[name].scope})
		}
	}
	return all
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
		{"/v1/files", object{}, methods{"GET": lists(h.listFiles), "POST": writes(h.createFile)}},
		{"/v1/files/*", fileObject, methods{"GET": reads(h.getFile), "DELETE": writes(h.deleteFile)}},
		{"/v1/files/*/content", fileObject, methods{"GET": reads(h.downloadFile)}},
		{"/v1/uploads", object{}, methods{"POST": writes(h.createUpload)}},
		{"/v1/uploads/*/parts", uploadObject, methods{"POST": writes(h.addPart)}},
		{"/v1/uploads/*/complete", uploadObject, methods{"POST": writes(h.completeUpload)}},
		{"/v1/uploads/*/cancel", uploadObject, methods{"POST": writes(h.cancelUpload)}},
		{"/v1/batches", object{}, methods{"GET": lists(h.listBatches), "POST": writes(h.createBatch)}},
		// These names are not ids: see reports.go.
		{"/v1/batches/status", object{}, methods{"GET": reads(h.reportStatus)}},
		{"/v1/dashboard", object{}, methods{"GET": reads(h.reportDashboard)}},
		{"/v1/batches/dashboard", object{}, methods{"GET": reads(h.reportOldDashboard)}},
		{"/v1/analytics/timeline", object{}, methods{"GET": reads(h.reportTimeline)}},
		{"/v1/batches/analytics/timeline", object{}, methods{"GET": reads(h.reportTimeline)}},
		{"/v1/analytics/tokens", object{}, methods{"GET": reads(h.reportTokens)}},
		{"/v1/batches/analytics/tokens", object{}, methods{"GET": reads(h.reportTokens)}},
		{"/v1/usage", object{}, methods{"GET": reads(h.getUsage)}},
		{"/v1/batches/demand", object{}, methods{"GET": reads(h.getDemand)}},
		{"/v1/batches/receipt_keys", object{}, methods{"GET": reads(h.listReceiptKeys)}},
		{"/v1/batches/*/receipt", batchObject, methods{"GET": reads(h.getReceipt)}},
		{"/v1/batches/*/token_usage", batchObject, methods{"GET": reads(h.reportBatchTokens)}},
		{"/v1/batches/*", batchObject, methods{"GET": reads(h.getBatch), "DELETE": writes(h.deleteBatch)}},
		{"/v1/batches/*/cancel", batchObject, methods{"POST": writes(h.cancelBatch)}},
		{"/v1/batches/*/pause", batchObject, methods{"POST": controls(h.own(h.pauseBatch))}},
		{"/v1/batches/*/resume", batchObject, methods{"POST": controls(h.own(h.resumeBatch))}},
		{"/v1/batches/*/priority", batchObject, methods{"POST": controls(h.own(h.prioritizeBatch))}},
		{"/v1/batches/*/retry_failed", batchObject, methods{"POST": writes(h.retryFailed)}},
		{"/v1/batches/*/results", batchObject, methods{"GET": reads(h.listLines)}},
		{"/v1/batches/*/output", batchObject, methods{"GET": reads(h.getOutput)}},
		{"/v1/batches/*/errors", batchObject, methods{"GET": reads(h.getErrors)}},
		{"/v1/batches/*/lines/#", batchObject, methods{"GET": reads(h.getLine)}},
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
	m, ok := rt.methods[method]
	if !ok {
		w.Header().Set("Allow", allowed(rt.methods))
		openai.WriteError(w, r, openai.MethodNotAllowed(r.Method, clip(path)))
		return
	}
	client := h.identity(r)
	if !client.May(m.scope) {
		openai.WriteError(w, r, openai.MissingScope(string(m.scope)))
		return
	}
	r = r.WithContext(access.With(r.Context(), client))
	if rt.object.id != nil || m.lists {
		chosen, err := selectTenant(r, client, m.lists)
		if err != nil {
			openai.WriteError(w, r, err)
			return
		}
		r = chosen
	}
	missing := func() *openai.Error { return rt.object.missing(clip(id)) }
	// An invalid query is reported for every id, even for one that cannot exist.
	if rt.object.id != nil && !rt.object.id.MatchString(id) && (method == http.MethodPost || r.URL.RawQuery == "") {
		openai.WriteError(w, r, missing())
		return
	}
	if err := m.do(w, r, id); err != nil {
		h.refuse(w, r, err, missing)
	}
}

func allowed(methods methods) string {
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
