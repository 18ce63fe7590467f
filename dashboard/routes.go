package dashboard

import (
	"net/http"

	"github.com/tidegate/tidegate/access"
)

// Route is a route of a dashboard, for tests that must know all.
type Route struct {
	Method, Path string // Path is below the base, as a pattern of http.ServeMux
	Scope        access.Scope
}

// Routes returns the routes whose clients need a scope.
func Routes() []Route {
	t := routeTable{d: new(Dashboard)}
	t.fill()
	return t.routes
}

// endpoint answers a request, or returns the error that becomes the answer.
type endpoint = func(http.ResponseWriter, *http.Request) error

// routeTable collects routes with the scopes that their clients need.
type routeTable struct {
	d      *Dashboard
	mux    *http.ServeMux // nil: only the table is wanted
	routes []Route
}

func (t *routeTable) handle(s access.Scope, method, path string, h http.Handler) {
	t.routes = append(t.routes, Route{method, path, s})
	if t.mux != nil {
		t.mux.Handle(method+" "+t.d.base+path, t.d.require(s, h))
	}
}

// get and post add a page and an action.
func (t *routeTable) get(s access.Scope, path string, f endpoint) {
	t.handle(s, "GET", path, t.d.page(f))
}

func (t *routeTable) post(s access.Scope, path string, f endpoint) {
	t.handle(s, "POST", path, t.d.page(f))
}

// live adds the event stream of a page.
func (t *routeTable) live(s access.Scope, path string, every int64, f livePage) {
	t.handle(s, "GET", "/events"+path, t.d.stream(every, f))
}

// require returns a handler for clients with a scope; others get an error page.
func (d *Dashboard) require(s access.Scope, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.client(r).May(s) {
			d.refused(r, s)
			d.fail(w, r, missingScope(s))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func missingScope(s access.Scope) error {
	return refuse(http.StatusForbidden, "Your API key does not have the scope %s, which this needs.", s)
}

func (t *routeTable) fill() {
	d := t.d
	const read, write, operate = access.Read, access.Batch, access.Operate
	t.get(read, "/{$}", d.overview)
	t.live(read, "/{$}", 1, d.overviewLive)
	t.get(read, "/wall", d.wall)
	t.live(read, "/wall", 1, d.wallLive)
	t.get(read, "/throughput", d.throughput)
	t.live(read, "/throughput", 15, d.throughputLive)

	t.get(read, "/usage", d.usage)
	t.get(read, "/usage.csv", d.usageCSV)

	t.get(read, "/batches", d.batchList)
	t.live(read, "/batches", 2, d.batchListLive)
	t.get(read, "/batches/{id}", d.batch)
	t.live(read, "/batches/{id}", 1, d.batchLive)
	t.get(read, "/batches/{id}/lines", d.lines)
	t.live(read, "/batches/{id}/lines", 5, d.linesLive)
	t.get(read, "/batches/{id}/lines/{number}", d.line)
	t.handle(read, "POST", "/batches/actions", d.reading(d.bulk)) // checks the scope of each action
	for _, a := range batchActions {
		path := "/batches/{id}/" + a.name
		if a.ask != nil {
			t.get(read, path, d.askBatch(a))
		}
		do := d.permitted(a, d.doBatch(a))
		if a.creates {
			do = d.creating(do)
		}
		if a.creates || a.reads {
			t.handle(a.scope(), "POST", path, d.reading(do))
			continue
		}
		t.post(a.scope(), path, do)
	}

	t.handle(write, "GET", "/new", d.reading(d.creating(d.newBatch)))
	t.handle(write, "POST", "/new/upload", http.HandlerFunc(d.upload))
	t.handle(write, "GET", "/new/arriving", d.reading(d.arriving))
	t.post(write, "/new", d.creating(d.createBatch))

	t.get(read, "/files", d.fileList)
	t.get(write, "/files/{id}/delete", d.askDeleteFile)
	t.post(write, "/files/{id}/delete", d.deleteFile)
	t.handle(read, "GET", "/files/{id}/content", http.HandlerFunc(d.fileContent))
	t.handle(read, "GET", "/batches/{id}/results/{kind}", http.HandlerFunc(d.results))

	t.get(read, "/upstreams", d.upstreamList)
	t.live(read, "/upstreams", 1, d.upstreamListLive)
	t.get(read, "/upstreams/{key}", d.upstream)
	t.live(read, "/upstreams/{key}", 1, d.upstreamLive)
	t.get(operate, "/upstreams/{key}/drain", d.askDrain)
	t.post(operate, "/upstreams/{key}/drain", d.drain(true))
	t.post(operate, "/upstreams/{key}/undrain", d.drain(false))

	t.get(operate, "/doctor", d.doctor)
	t.get(access.Admin, "/audit", d.audit)
	t.get(access.Admin, "/webhooks", d.webhooks)
	t.post(access.Admin, "/webhooks/test", d.testWebhook)

	t.get(access.Admin, "/keys", d.keyList)
	t.post(access.Admin, "/keys", d.createKey)
	t.get(access.Admin, "/keys/new", d.newKey)
	t.get(access.Admin, "/keys/{id}/limits", d.keyLimits)
	t.post(access.Admin, "/keys/{id}/limits", d.changeKeyLimits)
	t.get(access.Admin, "/keys/{id}/rotate", d.askRotateKey)
	t.post(access.Admin, "/keys/{id}/rotate", d.rotateKey)
	t.get(access.Admin, "/keys/{id}/revoke", d.askRevokeKey)
	t.post(access.Admin, "/keys/{id}/revoke", d.revokeKey)
}

func (d *Dashboard) routes() http.Handler {
	mux := http.NewServeMux()
	t := routeTable{d: d, mux: mux}
	t.fill()
	mux.HandleFunc("POST "+d.base+"/preferences", d.preferences)
	mux.HandleFunc("GET "+d.base+"/assets/{hash}/{name}", d.asset)
	mux.Handle(d.base+"/", d.page(d.nowhere))
	if d.base != "" {
		mux.Handle("GET "+d.base, http.RedirectHandler(d.base+"/", http.StatusMovedPermanently))
	}
	return mux
}
