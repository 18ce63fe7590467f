package caddymodule

import (
	"crypto/subtle"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/tidegate/tidegate/access"
)

func init() {
	caddy.RegisterModule(new(KeyAuth))
	httpcaddyfile.RegisterHandlerDirective("tidegate_auth", parseAuth)
	httpcaddyfile.RegisterDirectiveOrder("tidegate_auth", httpcaddyfile.Before, "basic_auth")
}

// KeyAuth is an authentication provider that accepts the API keys of the gateway on other
// sites. The placeholder {http.auth.user.id} is the id of the key;
// {http.auth.user.tenant}, {http.auth.user.name} and {http.auth.user.scopes} describe it.
// The key is removed from the request.
type KeyAuth struct {
	// Scopes that the key must have, all of them. Default: any key is accepted.
	Scopes []string `json:"scopes,omitempty"`

	app    *App
	scopes []access.Scope
}

// CaddyModule returns the Caddy module information.
func (*KeyAuth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.providers.tidegate_key", New: func() caddy.Module { return new(KeyAuth) }}
}

// Provision connects the provider to the app.
func (k *KeyAuth) Provision(ctx caddy.Context) (err error) {
	if k.scopes, err = access.ParseScopes(k.Scopes); err != nil {
		return err
	}
	app, err := ctx.AppIfConfigured("tidegate")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errNoApp
	}
	if err != nil {
		return err
	}
	k.app = app.(*App)
	return nil
}

// clientVar is the variable of a request for its client, once it was authenticated. The
// key may have been removed since.
const clientVar = "tidegate.client"

// Authenticate implements caddyauth.Authenticator.
func (k *KeyAuth) Authenticate(w http.ResponseWriter, r *http.Request) (user caddyauth.User, ok bool, err error) {
	k.app.awaitKeys(r)
	shown := credentials(r)
	c, refused := k.app.authenticate(r)
	if refused != nil && refused.Status == http.StatusServiceUnavailable {
		return user, false, refused
	}
	if refused != nil || !c.key {
		challenge(w, r)
		return user, false, nil //nolint:nilerr // Caddy answers 401 in place of 500
	}
	user = caddyauth.User{ID: c.KeyID, Metadata: map[string]string{"tenant": c.Tenant, "name": c.Name, "scopes": access.Join(c.Scopes, " ")}}
	for _, s := range k.scopes {
		if !c.May(s) {
			return user, false, nil // the candidate of handle_errors
		}
	}
	for _, one := range shown {
		if subtle.ConstantTimeCompare([]byte(one.key), []byte(c.secret)) == 1 {
			r.Header.Del(one.header)
		}
	}
	caddyhttp.SetVar(r.Context(), clientVar, c)
	return user, true, nil
}

// UnmarshalCaddyfile sets up the provider:
//
//	tidegate_key [<scope...>]
func (k *KeyAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	k.Scopes = d.RemainingArgs()
	_, err := access.ParseScopes(k.Scopes)
	if err == nil && d.NextBlock(d.Nesting()) {
		return d.Errf("unrecognized option %q", d.Val())
	}
	return wrap(d, err)
}

// parseAuth parses the directive of a site that accepts keys:
//
//	tidegate_auth [<matcher>] [<scope...>]
func parseAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	var k KeyAuth
	if err := k.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return caddyauth.Authentication{ProvidersRaw: caddy.ModuleMap{"tidegate_key": h.JSON(k)}}, nil
}

var (
	_ caddyauth.Authenticator = (*KeyAuth)(nil)
	_ caddy.Provisioner       = (*KeyAuth)(nil)
	_ caddyfile.Unmarshaler   = (*KeyAuth)(nil)
)
