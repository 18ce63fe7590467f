package caddymodule

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/access"
)

// asked returns a request with headers and with placeholders that handlers have set.
func asked(header http.Header, set map[string]string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	maps.Copy(r.Header, header)
	replacer := caddy.NewEmptyReplacer()
	for name, value := range set {
		replacer.Set(name, value)
	}
	return r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, replacer))
}

// TestUsers checks who a user is, and that a header of the client never makes one.
func TestUsers(t *testing.T) {
	fromRequest := func(c *IdentityConfig) { c.User = "{http.request.header.Remote-User}" }
	fromCopy := func(c *IdentityConfig) { c.User = "{rp.header.remote-user}" }
	byTenant := func(c *IdentityConfig) { c.Tenant = "{http.auth.user.org}" }
	for name, tt := range map[string]struct {
		change func(*IdentityConfig)
		header http.Header
		set    map[string]string
		user   string // "": none
		scopes string
		tenant string
		status int // of the refusal; 0: admitted or unknown
	}{
		"a user":                            {set: map[string]string{"http.auth.user.id": "alice"}, user: "alice", scopes: "admin", tenant: "everyone"},
		"two roles":                         {set: map[string]string{"http.auth.user.id": "bob"}, user: "bob", scopes: "batch live", tenant: "team-b"},
		"a user without a role":             {set: map[string]string{"http.auth.user.id": "carol"}, user: "carol", scopes: "read", tenant: "everyone"},
		"another case":                      {set: map[string]string{"http.auth.user.id": "Alice"}, user: "Alice", scopes: "read", tenant: "everyone"},
		"no default":                        {change: func(c *IdentityConfig) { c.Default = nil }, set: map[string]string{"http.auth.user.id": "carol"}, status: 403},
		"no user":                           {set: map[string]string{"http.auth.user.id": ""}},
		"no handler":                        {},
		"a control character":               {set: map[string]string{"http.auth.user.id": "alice\x1b[2J"}, status: 403},
		"headers of a client":               {header: http.Header{"Remote-User": {"alice"}, "X-Forwarded-User": {"alice"}, "Http.auth.user.id": {"alice"}}},
		"a header of a client":              {change: fromRequest, header: http.Header{"Remote-User": {"alice"}}},
		"a header that was copied":          {change: fromRequest, header: http.Header{"Remote-User": {"alice"}}, set: map[string]string{"http.reverse_proxy.header.Remote-User": "alice"}, user: "alice", scopes: "admin", tenant: "everyone"},
		"a header that differs":             {change: fromRequest, header: http.Header{"Remote-User": {"alice"}}, set: map[string]string{"http.reverse_proxy.header.Remote-User": "bob"}},
		"a second header":                   {change: fromRequest, header: http.Header{"Remote-User": {"bob", "alice"}}, set: map[string]string{"http.reverse_proxy.header.Remote-User": "bob"}},
		"a response":                        {change: fromCopy, set: map[string]string{"http.reverse_proxy.header.Remote-User": "bob"}, user: "bob", scopes: "batch live", tenant: "team-b"},
		"no response, a header of a client": {change: fromCopy, header: http.Header{"Remote-User": {"bob"}}},
		"a tenant":                          {change: byTenant, set: map[string]string{"http.auth.user.id": "alice", "http.auth.user.org": "org-1"}, user: "alice", scopes: "admin", tenant: "org-1"},
		"a tenant that is configured":       {change: byTenant, set: map[string]string{"http.auth.user.id": "bob", "http.auth.user.org": "org-1"}, user: "bob", scopes: "batch live", tenant: "team-b"},
		"no tenant":                         {change: byTenant, set: map[string]string{"http.auth.user.id": "alice"}, status: 403},
		"an invalid tenant":                 {change: byTenant, set: map[string]string{"http.auth.user.id": "alice", "http.auth.user.org": "../x"}, status: 403},
		"a placeholder as the name":         {set: map[string]string{"http.auth.user.id": "{env.HOME}"}, user: "{env.HOME}", scopes: "read", tenant: "everyone"},
	} {
		t.Run(name, func(t *testing.T) {
			c := IdentityConfig{Roles: map[string][]string{"admin": {"alice"}, "live": {"bob"}, "batch": {"bob"}}, Default: []string{"read"}, Tenant: "everyone", Tenants: map[string][]string{"team-b": {"bob"}}}
			if tt.change != nil {
				tt.change(&c)
			}
			u, err := c.users()
			if err != nil {
				t.Fatal(err)
			}
			r := asked(tt.header, tt.set)
			id, found, refused := u.of(r)
			switch {
			case tt.status != 0:
				if refused == nil || refused.Status != tt.status {
					t.Errorf("got %+v, %v, want status %d", id, refused, tt.status)
				}
			case refused != nil || found != (tt.user != ""):
				t.Errorf("got %+v, %t, %v, want user %q", id, found, refused, tt.user)
			case found && (id.Name != tt.user || id.KeyID != "user/"+tt.user || id.Tenant != tt.tenant || access.Join(id.Scopes, " ") != tt.scopes):
				t.Errorf("got %+v, want user %q of %s with %s", id, tt.user, tt.tenant, tt.scopes)
			}
			u.strip(r)
			if len(r.Header["Remote-User"])+len(r.Header["X-Forwarded-User"]) != 0 {
				t.Errorf("left in the request: %v", r.Header)
			}
		})
	}
}

// TestCredentialsOfUsers checks that no server gets the password or the token of a user.
func TestCredentialsOfUsers(t *testing.T) {
	c := IdentityConfig{Default: []string{"live"}}
	u, err := c.users()
	if err != nil {
		t.Fatal(err)
	}
	a := App{users: u, keys: access.Ring{}}
	for _, header := range []http.Header{
		{"Authorization": {"Basic YWxpY2U6aGVsbG8="}},
		{"Authorization": {"Bearer eyJhbGciOiJub25lIn0.e30."}},
		{"Authorization": {"Negotiate YII="}},
		{"Authorization": {"Bearer x"}, "X-Api-Key": {"y"}, "Api-Key": {"z"}},
	} {
		r := asked(header, map[string]string{"http.auth.user.id": "alice"})
		got, refused := a.authenticate(r)
		if refused != nil || !got.user {
			t.Errorf("%v: got %+v, %v, want a user", header, got, refused)
		}
		for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key"} {
			if r.Header.Get(name) != "" {
				t.Errorf("left in the request: %s: %s", name, r.Header.Get(name))
			}
		}
	}
}
