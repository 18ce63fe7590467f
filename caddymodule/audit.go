package caddymodule

import (
	"context"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams"
)

// clientAddress returns the address of a client without its port: behind a proxy that Caddy
// trusts, the one that the proxy reports.
func clientAddress(r *http.Request) string {
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok && ip != "" {
		return ip
	}
	return remoteHost(r)
}

// withOrigin returns a request whose changes are audited, and sets the id of the request in
// its response.
func withOrigin(w http.ResponseWriter, r *http.Request, via string) *http.Request {
	o := access.Origin{Via: via, Address: clientAddress(r), RequestID: upstreams.RequestID(r)}
	if via == access.ViaAPI && strings.HasPrefix(r.UserAgent(), "tidegate") {
		o.Via = access.ViaCLI
	}
	w.Header()["X-Request-Id"] = []string{o.RequestID}
	return r.WithContext(access.WithOrigin(r.Context(), o))
}

// auditAction audits an action of a client that the store does not audit itself.
func (r *runtime) auditAction(ctx context.Context, action batch.AuditAction, object string) {
	if e, ok := batch.Audited(ctx, action, object, "", ""); ok {
		r.audit.Record(ctx, e)
	}
}

// audited returns a change of a server that is audited when it was made.
func (r *runtime) audited(ctx context.Context, action batch.AuditAction, change func(url string) error) func(url string) error {
	return func(url string) error {
		err := change(url)
		if err == nil {
			r.auditAction(ctx, action, url)
		}
		return err
	}
}

// operatorRoute returns the route of a path without what clients choose in it.
func operatorRoute(path string) string {
	if under(path, "/v1/keys") {
		return "/v1/keys"
	}
	return path // the others are exact
}

// refused audits that a request for a route of operators was refused. The path is not
// recorded, because clients choose it.
func (r *runtime) refused(ctx context.Context, action batch.AuditAction, route string, why *openai.Error) {
	if e, ok := batch.Audited(ctx, action, route, "", why.Code); ok {
		r.audit.Refuse(ctx, e)
	}
}
