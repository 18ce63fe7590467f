package access

import "context"

// Origin says where a request came from, for the audit log.
type Origin struct {
	Via       string // ViaAPI, ViaDashboard, ViaCLI or ViaAdmin
	Address   string // of the client, without its port
	RequestID string
}

// The ways on which requests arrive.
const (
	ViaAPI       = "api"
	ViaDashboard = "dashboard"
	ViaCLI       = "cli"   // the API, by the tidegate command, as it says itself
	ViaAdmin     = "admin" // Caddy's admin endpoint
)

type originKey struct{}

// WithOrigin returns a context whose changes are audited.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns the origin of a request, and false for work of the gateway itself, which
// is not audited.
func OriginOf(ctx context.Context) (Origin, bool) {
	o, ok := ctx.Value(originKey{}).(Origin)
	return o, ok
}
