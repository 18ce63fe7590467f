package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/openai"
)

// known reports whether the client is not anonymous.
func (c *client) known() bool { return c.key || c.user }

// maxCredentials is the maximum number of keys that a request may send.
const maxCredentials = 8

// client is the result of authenticating a request.
type client struct {
	access.Identity
	key      bool   // it sent a valid key
	user     bool   // another handler of the site has authenticated it, see IdentityConfig
	secret   string // that key
	password bool   // only as a password, which browsers repeat by themselves
}

// authenticate returns the client of a request. Wrong keys are ignored if there is a
// valid one: OpenAI's libraries require a bearer token, and their users send a
// placeholder in addition to the header with the key.
//
// If no key is required, a client without a key may do everything; the guard decides
// whether it is admitted. A managed key limits its client to its rights there, too, so that
// a revoked one is refused.
func (a *App) authenticate(r *http.Request) (client, *openai.Error) {
	if c, ok := caddyhttp.GetVar(r.Context(), clientVar).(client); ok {
		return c, nil
	}
	if a.users != nil {
		defer a.users.strip(r)
	}
	shown := credentials(r)
	if len(shown) > maxCredentials { // each unknown one may read the store
		return client{}, openai.InvalidRequest("", "too_many_api_keys", "The request has %d API keys: send one.", len(shown))
	}
	var (
		found         client
		others        bool // a valid key that is no password
		away, managed bool
		valid         = make([]bool, len(shown))
	)
	for i, c := range shown { // all are compared, so that the timing does not reveal which one matched
		managed = managed || access.Managed(c.key)
		id, err := a.findKey(r.Context(), c.key)
		switch {
		case errors.Is(err, access.ErrUnavailable):
			away = true
		case err == nil:
			if found.key && !sameRights(found.Identity, id) {
				return client{}, openai.InvalidRequest("", "ambiguous_api_key", "The request has two valid API keys with different rights: send one.")
			}
			valid[i] = true
			if !found.key {
				found.Identity, found.key, found.secret = id, true, c.key
			}
			others = others || !c.password
		}
	}
	switch {
	case found.key:
		found.password = !others
		keepValid(r, shown, valid)
		return found, nil
	case away:
		return client{}, openai.Unavailable(startingRetry, "API keys cannot be checked now: see GET /health for the reason.")
	case managed:
		return client{}, openai.InvalidAPIKey()
	case a.users != nil:
		c, err := a.authenticateUser(r)
		if err == nil { // a password, or a token of the single sign-on, is not for servers
			keepValid(r, shown, valid)
			r.Header.Del("Authorization") // of any scheme
		}
		return c, err
	case a.requiresKey():
		return client{}, openai.InvalidAPIKey()
	case a.keysUnknown():
		return client{}, openai.Unavailable(startingRetry, "It is not known yet whether this gateway requires API keys, because its database does not answer. Try again later; its log has the reason.")
	default:
		return client{Identity: access.Everyone()}, nil
	}
}

// authenticateUser returns the user that another handler has authenticated.
func (a *App) authenticateUser(r *http.Request) (client, *openai.Error) {
	id, found, err := a.users.of(r)
	switch {
	case err != nil:
		return client{}, err
	case !found:
		return client{}, openai.InvalidAPIKey()
	}
	return client{Identity: id, user: true}, nil
}

// requiresKey reports whether unknown clients without a key are refused: the configuration
// has a key or an identity, or there is a managed key and no `auth off`.
func (a *App) requiresKey() bool {
	if a.authenticates() {
		return true
	}
	if a.AuthOff || a.runtime == nil {
		return false
	}
	some, _ := a.runtime.directory.Any()
	return some
}

// keysUnknown reports whether clients without a key cannot be admitted because there may be
// managed keys: they were not read yet, and none were saved. An embedded database that does
// not open belongs to this gateway alone; clients of this machine are served meanwhile.
func (a *App) keysUnknown() bool {
	if a.authenticates() || a.AuthOff || a.runtime == nil || a.runtime.directory.Known() {
		return false
	}
	return a.runtime.open.Load() || a.store.Shared()
}

// awaitKeys waits until the managed keys have been read, if a gateway that is starting
// needs them for a request.
func (a *App) awaitKeys(r *http.Request) {
	if a.runtime == nil || a.runtime.gate().settled() { // almost always
		return
	}
	managed := slices.ContainsFunc(credentials(r), func(c credential) bool { return access.Managed(c.key) })
	if managed || !a.authenticates() && !a.AuthOff {
		a.runtime.gate().wait(r)
	}
}

// findKey returns the identity of a key of the configuration or of the store.
func (a *App) findKey(ctx context.Context, secret string) (access.Identity, error) {
	if id, ok := a.keys.Find(secret, time.Now()); ok {
		return id, nil
	}
	if a.runtime == nil {
		return access.Identity{}, access.ErrUnknownKey
	}
	return a.runtime.directory.Find(ctx, secret)
}

// stillValid reports whether the key of a client that was authenticated before has
// neither expired nor been revoked since, by the keys in memory. A client without a key
// remains valid until one is required.
func (a *App) stillValid(c client) bool {
	if !c.key {
		return c.user || !a.requiresKey() && !a.keysUnknown()
	}
	_, ok := a.keys.Find(c.secret, time.Now())
	return ok || a.runtime != nil && a.runtime.directory.Has(c.secret)
}

// sameRights reports whether it makes no difference which of two keys a request has.
func sameRights(a, b access.Identity) bool {
	return a.Tenant == b.Tenant && slices.Equal(a.Scopes, b.Scopes) && slices.Equal(a.Models, b.Models)
}

// keepValid deletes the headers that contain no valid key from an admitted request, so
// that clients are identified by the key and not by a placeholder, which many share.
// Managed keys are deleted, too: they are for the gateway only, and servers must not see
// them.
func keepValid(r *http.Request, shown []credential, valid []bool) {
	keep := make(map[string]bool)
	for i, c := range shown {
		keep[c.header] = keep[c.header] || valid[i] && !access.Managed(c.key)
	}
	for _, c := range shown {
		if !keep[c.header] {
			r.Header.Del(c.header)
		}
	}
}

// identify returns the client of a request, or why it is not admitted. check checks the
// address and the origin of a client without a key.
func (d *door) identify(r *http.Request, check func(*http.Request) *openai.Error) (client, *openai.Error) {
	d.app.awaitKeys(r)
	c, err := d.authenticate(r)
	if err == nil && !c.known() {
		err = check(r)
	}
	return c, err
}

// authenticate returns the client of a request. A user is one only under a name of this
// gateway.
func (d *door) authenticate(r *http.Request) (client, *openai.Error) {
	c, err := d.app.authenticate(r)
	if err == nil && c.user {
		err = d.guard.checkUser(r)
	}
	if err != nil {
		return client{}, err
	}
	return c, nil
}

// permit returns a request that carries its client, or why it is not admitted. Of a
// client that sent its key as a password, which browsers repeat, it checks the origin.
func (d *door) permit(r *http.Request, check func(*http.Request) *openai.Error) (*http.Request, *openai.Error) {
	c, err := d.identify(r, check)
	if err != nil {
		return nil, err
	}
	if c.user && isCrossOrigin(r) && !slices.Contains(d.guard.cors, r.Header.Get("Origin")) {
		return nil, errCrossOrigin(r) // browsers repeat passwords and cookies
	}
	if c.password {
		if err := d.guard.checkPassword(r); err != nil {
			return nil, err
		}
	}
	logClient(r, c.Identity)
	return r.WithContext(access.With(r.Context(), c.Identity)), nil
}
