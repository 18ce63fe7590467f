package httpapi

import (
	"context"
	"net/http"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

type tenantKey struct{}

// selected returns the tenant that a client has selected, batch.AllTenants for all, and ""
// if it has selected none.
func selected(ctx context.Context) string {
	tenant, _ := ctx.Value(tenantKey{}).(string)
	return tenant
}

// selectTenant reads the parameter tenant of a request about objects that exist. Only
// administrators may select another tenant than their own; others get the same answer
// for every name. With all, it may be batch.AllTenants.
func selectTenant(r *http.Request, client access.Identity, all bool) (*http.Request, error) {
	q, err := parseQuery(r)
	if err != nil {
		return r, nil //nolint:nilerr // the endpoint reports it, if it has parameters
	}
	tenant, given, err := q.get("tenant")
	switch {
	case err != nil:
		return nil, err
	case !given:
		return r, nil
	case tenant != client.Tenant && !client.SeesTenants():
		return nil, openai.MissingScope(string(access.Admin))
	case tenant == batch.AllTenants && all:
	default:
		if err := access.CheckTenant(tenant); err != nil {
			return nil, openai.InvalidRequest("tenant", "invalid_value", "Invalid 'tenant': %v.", err)
		}
	}
	return r.WithContext(context.WithValue(r.Context(), tenantKey{}, tenant)), nil
}

// owner returns the tenant of an object, for clients that have selected one.
func owner(ctx context.Context, tenant string) string {
	if selected(ctx) == "" {
		return ""
	}
	return tenant
}

// file returns the File object.
func (h *handler) file(ctx context.Context, f batch.File) openai.File {
	o := wireFile(f)
	o.Tenant = owner(ctx, f.Tenant)
	return o
}
