package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/openai"
)

// IdentityConfig describes users that another handler of the site has authenticated, such
// as basic_auth, forward_auth or a module for JWT or OIDC, and their rights. They need no
// API key. Clients with a valid key have the rights of the key.
type IdentityConfig struct {
	// User is a placeholder for the name of the user: {http.auth.user.id}, or a header of
	// the response of forward_auth, {http.reverse_proxy.header.NAME}. A header of the
	// request, {http.request.header.NAME}, is accepted only if forward_auth has copied it
	// from a response. Default: {http.auth.user.id}.
	User string `json:"user,omitempty"`
	// Roles are users by scope. A user may have several scopes.
	Roles map[string][]string `json:"roles,omitempty"`
	// Default are the scopes of users without a role. Default: none, they are refused.
	Default []string `json:"default,omitempty"`
	// Tenant is the tenant of users that Tenants does not name: a name, or a placeholder
	// as in User. Default: default.
	Tenant string `json:"tenant,omitempty"`
	// Tenants are users by tenant. A user has one tenant.
	Tenants map[string][]string `json:"tenants,omitempty"`
}

const defaultUser = "{http.auth.user.id}"

// Prefixes of placeholders.
const (
	authPlaceholder    = "http.auth.user."
	copiedPlaceholder  = "http.reverse_proxy.header."
	requestPlaceholder = "http.request.header."
)

var identityPlaceholder = regexp.MustCompile(`^\{(http\.auth\.user|http\.reverse_proxy\.header|http\.request\.header|rp\.header|header)\.([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\}$`)

var errIdentityPlaceholder = errors.New("must be {http.auth.user.NAME}, {http.reverse_proxy.header.NAME} or {http.request.header.NAME}: clients can choose the values of others")

// parseIdentityPlaceholder returns the name in a placeholder that only handlers of the
// site set.
func parseIdentityPlaceholder(text string) (name string, err error) {
	at := identityPlaceholder.FindStringSubmatch(text)
	if at == nil {
		return "", errIdentityPlaceholder
	}
	switch at[1] {
	case "rp.header", "http.reverse_proxy.header":
		return copiedPlaceholder + http.CanonicalHeaderKey(at[2]), nil
	case "header", "http.request.header":
		return requestPlaceholder + http.CanonicalHeaderKey(at[2]), nil
	default:
		return authPlaceholder + at[2], nil
	}
}

// unmarshal parses the block. See App.UnmarshalCaddyfile.
func (c *IdentityConfig) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := block(d, c.options(), "role", "tenant"); err != nil {
		return err
	}
	_, err := c.users()
	return wrap(d, err)
}

func (c *IdentityConfig) options() map[string]option {
	return map[string]option{
		"user": func(d *caddyfile.Dispenser) (err error) {
			if c.User, err = argument(d); err != nil {
				return err
			}
			if _, err := parseIdentityPlaceholder(c.User); err != nil {
				return d.Errf("user %w, not %q", err, c.User)
			}
			return nil
		},
		"role": func(d *caddyfile.Dispenser) error {
			args := d.RemainingArgs()
			if len(args) < 2 {
				return d.ArgErr()
			}
			if _, err := access.ParseScopes(args[:1]); err != nil {
				return d.Errf("role: %w", err)
			}
			if c.Roles == nil {
				c.Roles = make(map[string][]string)
			}
			c.Roles[args[0]] = append(c.Roles[args[0]], args[1:]...)
			return nil
		},
		"default": words(&c.Default, func(names []string) error {
			if _, err := access.ParseScopes(names); err != nil {
				return fmt.Errorf("default: %w", err)
			}
			return nil
		}),
		"tenant": func(d *caddyfile.Dispenser) error {
			args := d.RemainingArgs()
			switch {
			case len(args) == 0:
				return d.ArgErr()
			case len(args) > 1 || !strings.HasPrefix(args[0], "{"):
				if err := access.CheckTenant(args[0]); err != nil {
					return d.WrapErr(err)
				}
			default:
				if _, err := parseIdentityPlaceholder(args[0]); err != nil {
					return d.Errf("tenant %w, not %q", err, args[0])
				}
			}
			switch {
			case len(args) == 1 && c.Tenant != "":
				return d.Err("tenant of all other users already specified")
			case len(args) == 1:
				c.Tenant = args[0]
				return nil
			}
			if c.Tenants == nil {
				c.Tenants = make(map[string][]string)
			}
			c.Tenants[args[0]] = append(c.Tenants[args[0]], args[1:]...)
			return nil
		},
	}
}

// users are the users of a configuration, ready for requests.
type users struct {
	user, tenant   string // placeholders; tenant may be ""
	fallback       string // tenant of users without one
	scopes         map[string][]access.Scope
	tenants        map[string]string
	defaults       []access.Scope
	administrators bool // a user has the scope admin
}

// users checks the configuration.
func (c *IdentityConfig) users() (*users, error) {
	u := &users{fallback: cmp.Or(c.Tenant, access.DefaultTenant), scopes: make(map[string][]access.Scope), tenants: make(map[string]string)}
	var err error
	if u.user, err = parseIdentityPlaceholder(cmp.Or(c.User, defaultUser)); err != nil {
		return nil, fmt.Errorf("identity: user %w", err)
	}
	if strings.HasPrefix(c.Tenant, "{") {
		if u.tenant, err = parseIdentityPlaceholder(c.Tenant); err != nil {
			return nil, fmt.Errorf("identity: tenant %w", err)
		}
	} else if err := access.CheckTenant(u.fallback); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if u.defaults, err = access.ParseScopes(c.Default); err != nil {
		return nil, fmt.Errorf("identity: default: %w", err)
	}
	for _, role := range slices.Sorted(maps.Keys(c.Roles)) {
		scope, err := access.ParseScopes([]string{role})
		if err != nil {
			return nil, fmt.Errorf("identity: role: %w", err)
		}
		for _, name := range c.Roles[role] {
			if !validUser(name) {
				return nil, fmt.Errorf("identity: role %s: %q cannot be the name of a user", role, name)
			}
			if !slices.Contains(u.scopes[name], scope[0]) {
				u.scopes[name] = append(u.scopes[name], scope[0])
			}
			u.administrators = u.administrators || scope[0] == access.Admin
		}
	}
	u.administrators = u.administrators || slices.Contains(u.defaults, access.Admin)
	if len(u.scopes) == 0 && len(u.defaults) == 0 {
		return nil, errors.New("identity: no user has a scope: set `role` or `default`")
	}
	for _, tenant := range slices.Sorted(maps.Keys(c.Tenants)) {
		if err := access.CheckTenant(tenant); err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		for _, name := range c.Tenants[tenant] {
			if other, taken := u.tenants[name]; taken && other != tenant {
				return nil, fmt.Errorf("identity: the user %q has two tenants, %s and %s", name, other, tenant)
			}
			u.tenants[name] = tenant
		}
	}
	return u, nil
}

// maxUser limits the name of a user, in bytes.
const maxUser = 256

func validUser(name string) bool {
	return name != "" && len(name) <= maxUser && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// identityHeaders are the headers in which proxies send an authenticated user to servers.
// They are not forwarded.
var identityHeaders = []string{
	"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "X-Remote-User", "X-Webauth-User",
	"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username",
	"X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Auth-Request-Preferred-Username",
}

// strip removes the headers that name a user from a request, so that no server trusts
// them.
func (u *users) strip(r *http.Request) {
	for _, header := range identityHeaders {
		r.Header.Del(header)
	}
	for _, placeholder := range []string{u.user, u.tenant} {
		if header, ok := strings.CutPrefix(placeholder, requestPlaceholder); ok {
			r.Header.Del(header)
		}
	}
}

// of returns the identity of the user of a request. found is false without a user.
func (u *users) of(r *http.Request) (id access.Identity, found bool, err *openai.Error) {
	name := established(r, u.user)
	tenant := ""
	if u.tenant != "" {
		tenant = established(r, u.tenant)
	}
	if name == "" {
		return id, false, nil
	}
	if !validUser(name) {
		return id, true, forbidden("invalid_user", "The name of the user has more than %d bytes, or characters that cannot be printed.", maxUser)
	}
	id = access.Identity{KeyID: "user/" + name, Name: name, Scopes: u.scopes[name], Tenant: u.tenants[name]}
	if len(id.Scopes) == 0 {
		id.Scopes = u.defaults
	}
	if len(id.Scopes) == 0 {
		return id, true, forbidden("user_without_role", "The user '%s' has no role on this gateway. Its operator must add one: `identity` in the tidegate block.", clipName(name))
	}
	switch {
	case id.Tenant != "":
	case u.tenant == "":
		id.Tenant = u.fallback
	case access.CheckTenant(tenant) != nil:
		return id, true, forbidden("invalid_tenant", "The tenant '%s' of the user is not valid.", clipName(tenant))
	default:
		id.Tenant = tenant
	}
	return id, true, nil
}

// established returns the value of a placeholder that a handler of the site has set; not a
// header that the client has sent.
func established(r *http.Request, placeholder string) string {
	replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	header, fromRequest := strings.CutPrefix(placeholder, requestPlaceholder)
	if !fromRequest {
		value, _ := replacer.GetString(placeholder)
		return value
	}
	sent := r.Header.Values(header)
	copied, _ := replacer.GetString(copiedPlaceholder + header)
	if len(sent) != 1 || sent[0] != copied {
		return ""
	}
	return copied
}
