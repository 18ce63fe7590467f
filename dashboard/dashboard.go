package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
)

// Config configures a Dashboard.
type Config struct {
	// Base is the path of the dashboard, such as "/dashboard", or "" for the root.
	Base   string
	Source Source
	// Tenant is the tenant whose objects the source has; "" for that of every client.
	Tenant string
	// Name is the installation's name, shown in the header and in titles; "" for none.
	Name string
	// Version is the gateway's version, shown in the header; "" for none.
	Version string
	// TrustedOrigins may send actions in addition to the dashboard's own origin, such
	// as "https://ops.example.com".
	TrustedOrigins []string

	// Identity returns the client of a request. nil: access.Everyone.
	Identity func(*http.Request) access.Identity

	// Valid reports whether the client of a request is still valid. Event streams ask it
	// again and again, so that it must be quick. nil: clients remain valid.
	Valid func(*http.Request) bool

	// Refused is called when a client lacks the scope of a page or an action. nil: nothing
	// is called.
	Refused func(r *http.Request, s access.Scope)

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
	tenant  string
	creates func() bool
	client  func(*http.Request) access.Identity
	valid   func(*http.Request) bool
	refused func(*http.Request, access.Scope)
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
	if s.Overview == nil || s.Throughput == nil || s.Usage == nil || s.Batches == nil || s.Files == nil || s.Upstreams == nil || s.Doctor == nil || s.Audit == nil || s.Keys == nil || s.Webhooks == nil {
		return nil, errors.New("a part of the source is missing")
	}
	or(&cfg.Interval, time.Second)
	or(&cfg.Viewers, 256)
	if cfg.Creates == nil {
		cfg.Creates = func() bool { return true }
	}
	if cfg.Identity == nil {
		cfg.Identity = func(*http.Request) access.Identity { return access.Everyone() }
	}
	if cfg.Valid == nil {
		cfg.Valid = func(*http.Request) bool { return true }
	}
	if cfg.Refused == nil {
		cfg.Refused = func(*http.Request, access.Scope) {}
	}
	or(&cfg.Timeout, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Dashboard{base: base, name: cfg.Name, version: cfg.Version, source: s, tenant: cfg.Tenant, creates: cfg.Creates, client: cfg.Identity, valid: cfg.Valid, refused: cfg.Refused, timeout: cfg.Timeout, patience: streamPatience, log: cfg.Log, now: cfg.Now}
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
