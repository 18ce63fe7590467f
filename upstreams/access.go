package upstreams

import (
	"crypto/x509"
	"errors"
	"maps"
	"net/http"
	"time"
)

// upstreamAccess holds the transport and the credentials for requests to one upstream. It is
// immutable; Apply replaces it.
type upstreamAccess struct {
	out *transport
	// bearer is the Authorization header, nil if the gateway sends no key of its own.
	bearer []string
	own    bool // bearer belongs to this upstream, not to the pool
}

// header returns the request header for this upstream, derived from the header that
// is common to all upstreams.
func (a *upstreamAccess) header(common http.Header) http.Header {
	if !a.own {
		return common
	}
	h := maps.Clone(common)
	h["Authorization"] = a.bearer
	delete(h, "X-Api-Key") // the client's
	delete(h, "Api-Key")
	return h
}

// probeHeader returns the header of probes and other requests that the gateway makes
// itself.
func (a *upstreamAccess) probeHeader() http.Header {
	h := http.Header{"User-Agent": userAgent, "Accept-Encoding": identity}
	if a.bearer != nil {
		h["Authorization"] = a.bearer
	}
	return h
}

// transportKey identifies upstreams that can share a transport.
type transportKey struct {
	dial, idle time.Duration
	socket     string
	tls        string
}

// assignTransports sets the access of every upstream and closes the idle connections
// of transports that are no longer used. Upstreams with equal settings share a
// transport. Pool.mu is held.
func (p *Pool) assignTransports() {
	used := make(map[transportKey]*transport)
	for i := range p.cfg.Upstreams {
		cfg, u := &p.cfg.Upstreams[i], p.upstreams[i]
		key := transportKey{p.cfg.DialTimeout, p.cfg.IdleConnTimeout, u.socket, cfg.TLS.key()}
		out := used[key]
		if out == nil {
			out = p.transports[key]
		}
		if out == nil {
			out = newTransport(&p.cfg, p.dialWithinLimit(p.dialer(u.socket)), cfg.TLS)
		}
		used[key] = out
		if u.urls[healthRoute.index].Scheme == "https" {
			// Load the system's certificate authorities now: x509 reads them only once,
			// and a failure for lack of file descriptors would be permanent.
			_, _ = x509.SystemCertPool() // the error is returned again when a certificate is verified
		}
		a := &upstreamAccess{out: out}
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

// closeIdle closes idle connections.
func (p *Pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, out := range p.transports {
		out.closeIdle()
	}
	if p.guardrail != nil {
		p.guardrail.Close()
	}
}

// setRemedy records what an operator can do about a failed probe.
func (p *Pool) setRemedy(u *upstream, err error) {
	remedy := tlsRemedy(err)
	if bad, ok := errors.AsType[*badAnswerError](err); ok && (bad.status == http.StatusUnauthorized || bad.status == http.StatusForbidden) {
		remedy = "Configure the key that the server expects: api_key in pool or upstream, or --upstream-api-key of serve."
	}
	p.mu.Lock()
	u.remedy = remedy
	p.mu.Unlock()
}
