package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Config configures a Dashboard.
type Config struct {
	// Base is the path of the dashboard, such as "/dashboard", or "" for the root.
	Base   string
	Source Source
	// Name is the installation's name, shown in the header and in titles; "" for none.
	Name string
	// Version is the gateway's version, shown in the header; "" for none.
	Version string
	// TrustedOrigins may send actions in addition to the dashboard's own origin, such
	// as "https://ops.example.com".
	TrustedOrigins []string

	// Creates reports whether files and batches may be created. nil: they may.
	Creates func() bool

	// Interval is the time between updates of open pages. Default 1 s.
	Interval time.Duration
	// Viewers limits the number of concurrent event streams; more are refused with
	// 503. Default 256.
	Viewers int
	// Timeout limits the time for a page that reads no complete file. Default 10 s.
	Timeout time.Duration

	Log *zap.Logger      // nil: nothing is logged
	Now func() time.Time // nil: time.Now
}

// Dashboard is an http.Handler for everything below its base. It must be closed.
type Dashboard struct {
	base    string
	name    string
	version string
	source  Source
	creates func() bool
	timeout time.Duration
	// patience limits how long a viewer may take to receive data.
	patience time.Duration
	log      *zap.Logger
	now      func() time.Time

	handler     http.Handler
	broadcaster *broadcaster
	day         remembered // charts of the last 24 hours
	arrivals    arrivals
}

// CheckBase returns an error for an invalid base path. A base has no trailing slash;
// "" is the root.
func CheckBase(base string) error {
	if base != "" && (base[0] != '/' || strings.ContainsAny(base, "{}?#% \\\"<>") || strings.Contains(base, "//")) {
		return fmt.Errorf("base %q is not a path such as /dashboard", base)
	}
	return nil
}

// New returns a Dashboard.
func New(cfg Config) (*Dashboard, error) {
	base := strings.TrimSuffix(cfg.Base, "/")
	if err := CheckBase(base); err != nil {
		return nil, err
	}
	s := cfg.Source
	if s.Overview == nil || s.Throughput == nil || s.Batches == nil || s.Files == nil || s.Upstreams == nil || s.Doctor == nil {
		return nil, errors.New("a part of the source is missing")
	}
	or(&cfg.Interval, time.Second)
	or(&cfg.Viewers, 256)
	if cfg.Creates == nil {
		cfg.Creates = func() bool { return true }
	}
	or(&cfg.Timeout, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Dashboard{base: base, name: cfg.Name, version: cfg.Version, source: s, creates: cfg.Creates, timeout: cfg.Timeout, patience: streamPatience, log: cfg.Log, now: cfg.Now}
	d.broadcaster = newBroadcaster(s.Overview.Now, cfg.Interval, cfg.Viewers)
	d.broadcaster.clock = cfg.Now

	var protection http.CrossOriginProtection
	for _, origin := range cfg.TrustedOrigins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("trusting origin: %w", err)
		}
	}
	protection.SetDenyHandler(http.HandlerFunc(d.crossOrigin))
	handler, err := compressing(protection.Handler(d.routes()))
	if err != nil {
		return nil, err
	}
	d.handler = handler
	return d, nil
}

func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Close ends all event streams and waits until no data is read any more. Pages are
// still answered.
func (d *Dashboard) Close() { d.broadcaster.close() }

// ServeHTTP serves everything below the base.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	d.handler.ServeHTTP(w, r)
}

// contentSecurityPolicy allows the dashboard's own assets only, and nothing inline.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secure sets the security headers of every response.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// With no-referrer browsers would send "Origin: null" with forms, which is refused
	// as cross-origin if Sec-Fetch-Site is missing.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func (d *Dashboard) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, f func(http.ResponseWriter, *http.Request) error) {
		mux.Handle(method+" "+d.base+path, d.page(f))
	}
	get := func(path string, f func(http.ResponseWriter, *http.Request) error) { handle("GET", path, f) }
	post := func(path string, f func(http.ResponseWriter, *http.Request) error) { handle("POST", path, f) }
	live := func(path string, every int64, f livePage) {
		mux.Handle("GET "+d.base+"/events"+path, d.stream(every, f))
	}

	get("/{$}", d.overview)
	live("/{$}", 1, d.overviewLive)
	get("/wall", d.wall)
	live("/wall", 1, d.wallLive)
	get("/throughput", d.throughput)
	live("/throughput", 15, d.throughputLive)

	get("/batches", d.batchList)
	live("/batches", 2, d.batchListLive)
	get("/batches/{id}", d.batch)
	live("/batches/{id}", 1, d.batchLive)
	get("/batches/{id}/lines", d.lines)
	live("/batches/{id}/lines", 5, d.linesLive)
	get("/batches/{id}/lines/{number}", d.line)
	mux.Handle("POST "+d.base+"/batches/actions", d.reading(d.bulk))
	for _, a := range batchActions {
		if a.ask != nil {
			get("/batches/{id}/"+a.name, d.askBatch(a))
		}
		if a.creates {
			mux.Handle("POST "+d.base+"/batches/{id}/"+a.name, d.reading(d.creating(d.doBatch(a))))
			continue
		}
		if a.reads {
			mux.Handle("POST "+d.base+"/batches/{id}/"+a.name, d.reading(d.doBatch(a)))
			continue
		}
		post("/batches/{id}/"+a.name, d.doBatch(a))
	}

	mux.Handle("GET "+d.base+"/new", d.reading(d.creating(d.newBatch)))
	mux.HandleFunc("POST "+d.base+"/new/upload", d.upload)
	mux.Handle("GET "+d.base+"/new/arriving", d.reading(d.arriving))
	post("/new", d.creating(d.createBatch))

	get("/files", d.fileList)
	get("/files/{id}/delete", d.askDeleteFile)
	post("/files/{id}/delete", d.deleteFile)
	mux.HandleFunc("GET "+d.base+"/files/{id}/content", d.fileContent)
	mux.HandleFunc("GET "+d.base+"/batches/{id}/results/{kind}", d.results)

	get("/upstreams", d.upstreamList)
	live("/upstreams", 1, d.upstreamListLive)
	get("/upstreams/{key}", d.upstream)
	live("/upstreams/{key}", 1, d.upstreamLive)
	get("/upstreams/{key}/drain", d.askDrain)
	post("/upstreams/{key}/drain", d.drain(true))
	post("/upstreams/{key}/undrain", d.drain(false))

	get("/doctor", d.doctor)

	mux.HandleFunc("POST "+d.base+"/preferences", d.preferences)
	mux.HandleFunc("GET "+d.base+"/assets/{hash}/{name}", d.asset)
	mux.Handle(d.base+"/", d.page(d.nowhere))
	if d.base != "" {
		mux.Handle("GET "+d.base, http.RedirectHandler(d.base+"/", http.StatusMovedPermanently))
	}
	return mux
}
