package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// hello is the bcrypt hash of "hello".
const hello = "$2a$04$1.R5JMJOkBnBWgRfUSKAx.096z6ahIxtk7y50R.T0tR.Y9D7IzAUy"

// visit sends a request with headers, given as names and values, and returns the answer.
func visit(t *testing.T, g *tidegatetest.Gateway, method, path, body string, header ...string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, g.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// expect checks the status of a request.
func expect(t *testing.T, g *tidegatetest.Gateway, want int, method, path string, header ...string) {
	t.Helper()
	body := ""
	if method == http.MethodPost {
		body = `{}`
	}
	if got, text := visit(t, g, method, path, body, header...); got != want {
		t.Errorf("%s %s with %v: got %d %.300s, want %d", method, path, header, got, text, want)
	}
}

// basic returns the header of HTTP Basic authentication.
func basic(user, password string) []string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return []string{"Authorization", r.Header.Get("Authorization")}
}

// Users whom basic_auth has authenticated use the dashboard and the API with their roles,
// and clients with API keys use the same listener.
func TestIdentityOfBasicAuth(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 1)
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: sims, App: `
			key client {
				secret {env.CLIENT_KEY}
				scopes live batch
				tenant team-a
			}
			identity {
				role admin alice
				role read bob
				tenant team-a bob
			}`,
		Site: `@browser path /dashboard /dashboard/* /upstreams /upstreams/* /v1/audit
			basic_auth @browser {
				alice ` + hello + `
				bob ` + hello + `
				carol ` + hello + `
			}
			tidegate`,
		Env: []string{"CLIENT_KEY=client-secret"},
	})
	key := []string{"Authorization", "Bearer client-secret"}
	expect(t, g, 200, "GET", "/v1/batches", key...)
	expect(t, g, 401, "GET", "/v1/batches")
	expect(t, g, 401, "GET", "/v1/batches", basic("alice", "hello")...) // no handler has authenticated it there
	expect(t, g, 401, "GET", "/v1/batches", "Remote-User", "alice")
	expect(t, g, 401, "GET", "/v1/batches", "X-Forwarded-User", "alice", "Authorization", "Bearer x")

	expect(t, g, 200, "GET", "/dashboard/", basic("alice", "hello")...)
	expect(t, g, 200, "GET", "/dashboard/batches", basic("bob", "hello")...)
	expect(t, g, 403, "GET", "/dashboard/doctor", basic("bob", "hello")...)
	expect(t, g, 403, "GET", "/dashboard/", basic("carol", "hello")...) // no role
	expect(t, g, 401, "GET", "/dashboard/", basic("alice", "wrong")...)
	expect(t, g, 401, "GET", "/dashboard/")
	expect(t, g, 401, "GET", "/dashboard/", "Remote-User", "alice")
	expect(t, g, 403, "GET", "/dashboard/doctor", append(basic("bob", "hello"), "Remote-User", "alice", "X-Forwarded-User", "alice")...)

	expect(t, g, 403, "POST", "/upstreams/drain", basic("bob", "hello")...)
	expect(t, g, 400, "POST", "/upstreams/drain", basic("alice", "hello")...) // of no server
	if status, text := visit(t, g, "GET", "/v1/audit", "", basic("alice", "hello")...); status != 200 || !strings.Contains(text, `"dashboard.login","outcome":"done"`) {
		t.Errorf("got audit log %d %s, want the logins of users", status, text)
	}
	// Browsers repeat passwords: a page of another origin must not use them.
	expect(t, g, 403, "POST", "/upstreams/drain", append(basic("alice", "hello"), "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")...)
}

// A session that forward_auth has checked makes a user, and no header of a client does.
func TestIdentityOfForwardAuth(t *testing.T) {
	t.Parallel()
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := r.Cookie("session")
		switch {
		case err != nil:
			w.WriteHeader(http.StatusUnauthorized)
		case session.Value != "anonymous": // logged in, without a name
			w.Header().Set("Remote-User", session.Value)
			w.Header().Set("Remote-Tenant", "org-"+session.Value)
		}
	}))
	t.Cleanup(login.Close)
	for name, placeholder := range map[string]string{"copied header": "{http.request.header.Remote-User}", "response": "{http.reverse_proxy.header.Remote-User}"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := tidegatetest.Run(t, tidegatetest.Settings{
				Sims: tidegatetest.StartSims(t, 1), App: `
					api_keys admin-secret
					identity {
						user    ` + placeholder + `
						role    admin alice
						default read
						tenant  {http.reverse_proxy.header.Remote-Tenant}
					}`,
				Site: `@browser header Cookie *session=*
					forward_auth @browser ` + strings.TrimPrefix(login.URL, "http://") + ` {
						uri /check
						copy_headers Remote-User
					}
					tidegate`,
			})
			session := func(name string) []string { return []string{"Cookie", "session=" + name} }
			forged := []string{"Remote-User", "alice", "Remote-Tenant", "org-alice", "X-Forwarded-User", "alice"}
			expect(t, g, 200, "GET", "/dashboard/doctor", session("alice")...)
			expect(t, g, 200, "GET", "/v1/keys", session("alice")...)
			expect(t, g, 200, "GET", "/dashboard/", session("bob")...)
			expect(t, g, 403, "GET", "/dashboard/doctor", session("bob")...)
			expect(t, g, 401, "GET", "/dashboard/", session("anonymous")...)
			for _, path := range []string{"/dashboard/", "/v1/keys", "/v1/batches", "/metrics"} {
				expect(t, g, 401, "GET", path, forged...)
				expect(t, g, 401, "GET", path, append(session("anonymous"), forged...)...)
			}
			expect(t, g, 403, "GET", "/v1/keys", append(session("bob"), forged...)...)
			expect(t, g, 200, "GET", "/v1/keys", "Authorization", "Bearer admin-secret")
			// A key decides before a session, and a revoked or unknown managed key is not
			// replaced by a session.
			expect(t, g, 401, "GET", "/v1/keys", append(session("alice"), "Authorization", "Bearer tg-unknown")...)
			expect(t, g, 403, "POST", "/v1/keys", append(session("alice"), "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")...)
			expect(t, g, 303, "POST", "/dashboard/preferences", append(session("alice"), "Origin", g.URL, "Sec-Fetch-Site", "same-origin", "Content-Type", "application/x-www-form-urlencoded")...)
		})
	}
}

// Other sites use the gateway's keys: tidegate_auth.
func TestKeysOnOtherSites(t *testing.T) {
	t.Parallel()
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: tidegatetest.StartSims(t, 1), App: `
			key ops {
				secret {env.OPS_KEY}
				scopes operate
				tenant team-ops
			}
			key reader {
				secret {env.READER_KEY}
				scopes read
			}
			key admin {
				secret {env.ADMIN_KEY}
				scopes admin
			}`,
		Site: `handle /private/* {
				tidegate_auth operate
				respond "{http.auth.user.id} {http.auth.user.tenant} {http.auth.user.scopes} [{http.request.header.Authorization}{http.request.header.X-Api-Key}]"
			}
			handle /both/* {
				tidegate_auth
				uri strip_prefix /both
				tidegate
			}
			handle {
				tidegate
			}`,
		Env: []string{"OPS_KEY=ops-secret", "READER_KEY=reader-secret", "ADMIN_KEY=admin-secret"},
	})
	for name, want := range map[string]int{"ops": 200, "admin": 200, "reader": 401, "wrong": 401} {
		expect(t, g, want, "GET", "/private/x", "Authorization", "Bearer "+name+"-secret")
	}
	expect(t, g, 401, "GET", "/private/x")
	expect(t, g, 401, "GET", "/private/x", "Remote-User", "ops")
	status, text := visit(t, g, "GET", "/private/x", "", "X-Api-Key", "ops-secret")
	if want := "static/ops team-ops operate []"; status != 200 || text != want {
		t.Errorf("got %d %q, want %q", status, text, want)
	}
	// Managed keys, too; and handlers of the gateway behind it know the client.
	status, made := visit(t, g, "POST", "/v1/keys", `{"name":"made","scopes":["operate"]}`, "Authorization", "Bearer admin-secret")
	_, rest, _ := strings.Cut(made, `"key":"`)
	secret, _, _ := strings.Cut(rest, `"`)
	if status != 200 || secret == "" {
		t.Fatalf("creating key: %d %s", status, made)
	}
	expect(t, g, 200, "GET", "/private/x", "Authorization", "Bearer "+secret)
	expect(t, g, 200, "GET", "/both/v1/batches", "Authorization", "Bearer "+secret)
	expect(t, g, 403, "GET", "/both/v1/keys", "Authorization", "Bearer "+secret)
	expect(t, g, 401, "GET", "/both/v1/batches")
}
