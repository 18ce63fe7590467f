package upstreams

import (
	"crypto/x509"
	"errors"
	"maps"
	"net/http"
	"time"
)

// access is how requests get to an upstream. It never changes; Apply replaces it.
type access struct {
	out *transport
	// bearer is the Authorization header, nil for none of the gateway's own.
	bearer []string
	own    bool // bearer is this upstream's own, not the pool's
}

// header makes the header of a request from one that was made for all
// upstreams.
func (a *access) header(common http.Header) http.Header {
	if !a.own {
		return common
	}
	h := maps.Clone(common)
	h["Authorization"] = a.bearer
	delete(h, "X-Api-Key") // the client's
	delete(h, "Api-Key")
	return h
}

// probeHeader is the header of a request of the gateway's own.
func (a *access) probeHeader() http.Header {
	h := http.Header{"User-Agent": userAgent, "Accept-Encoding": identity}
	if a.bearer != nil {
		h["Authorization"] = a.bearer
	}
	return h
}

// transportKey is what distinguishes transports.
type transportKey struct {
	dial, idle time.Duration
	socket     string
	tls        string
}

// arrange gives every upstream its access, and lets go of transports that are
// not used any more. Upstreams that are configured alike share a transport.
// Pool.mu is held.
func (p *Pool) arrange() {
	used := make(map[transportKey]*transport)
	for i := range p.cfg.Upstreams {
		cfg, u := &p.cfg.Upstreams[i], p.upstreams[i]
		key := transportKey{p.cfg.DialTimeout, p.cfg.IdleConnTimeout, u.socket, cfg.TLS.key()}
		out := used[key]
		if out == nil {
			out = p.transports[key]
		}
		if out == nil {
			out = newTransport(&p.cfg, p.within(p.dialer(u.socket)), cfg.TLS)
		}
		used[key] = out
		if u.urls[healthRoute.index].Scheme == "https" {
			// The system's authorities are read once. Without a descriptor for
			// that there would be none from then on.
			_, _ = x509.SystemCertPool() // its error comes again when it matters
		}
		a := &access{out: out}
		switch {
		case cfg.APIKey != "":
			a.bearer, a.own = []string{"Bearer " + cfg.APIKey}, true
		case p.cfg.APIKey != "":
			a.bearer = []string{"Bearer " + p.cfg.APIKey}
		}
		u.access.Store(a)
	}
	for key, out := range p.transports {
		if used[key] == nil {
			out.closeIdle()
		}
	}
	p.transports = used
}

// closeIdle closes connections that no request uses.
func (p *Pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, out := range p.transports {
		out.closeIdle()
	}
}

// advise takes note of what to do about a probe's failure.
func (p *Pool) advise(u *upstream, err error) {
	remedy := tlsRemedy(err)
	if bad, ok := errors.AsType[*badAnswerError](err); ok && (bad.status == http.StatusUnauthorized || bad.status == http.StatusForbidden) {
		remedy = "Give the gateway the key that the server asks for: api_key in pool or upstream, --upstream-api-key of serve."
	}
	p.mu.Lock()
	u.remedy = remedy
	p.mu.Unlock()
}
