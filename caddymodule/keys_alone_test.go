package caddymodule

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// eventStream opens the event stream of the overview. header has names and values.
func (g *gateway) eventStream(t *testing.T, ctx context.Context, header ...string) *bufio.Scanner {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.addr+"/dashboard/events/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := g.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	if !lines.Scan() || resp.StatusCode != http.StatusOK {
		t.Fatalf("stream: %d, %v", resp.StatusCode, lines.Err())
	}
	return lines
}

// TestManagedKeysAreRequired checks that a gateway without a key in its configuration
// refuses clients without a key as soon as there is a managed one, on every route, and that
// an administrator always remains.
func TestManagedKeysAreRequired(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.runAll(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	page := g.eventStream(t, ctx)
	none := []string{"Authorization", "Bearer"}
	post := func(key, path, body string) (answer, made) {
		t.Helper()
		return g.keys(t, key, path, body)
	}
	for name, body := range map[string]string{
		"without admin": `{"name":"x","scopes":["live","operate"]}`, "by default": `{"name":"x"}`,
		"that expires": `{"name":"x","scopes":["admin"],"expires_at":4000000000}`, "with models": `{"name":"x","scopes":["admin"],"models":["m"]}`,
	} {
		if a, _ := post("", "", body); a.status != 409 || !strings.Contains(a.body, "first_key_not_admin") {
			t.Errorf("first key %s: got %d %s, want 409", name, a.status, a.body)
		}
	}
	if a := g.ask(t, "GET", "/v1/keys", ""); a.status != 200 || strings.Contains(a.body, "key_") {
		t.Fatalf("after refusals: %d %s, want no key", a.status, a.body)
	}
	a, admin := post("", "", `{"name":"admin","scopes":["admin"]}`)
	if a.status != 200 {
		t.Fatalf("first admin: %d %s", a.status, a.body)
	}
	refused := func(when string) {
		t.Helper()
		for _, rt := range allRoutes(t) {
			path := concrete(rt.path, "batch_0", "file-0", "upload_0")
			method := rt.method
			if strings.Contains(path, "/events/") {
				method = http.MethodHead
			}
			for _, header := range [][]string{nil, none, {"X-Api-Key", "placeholder"}} {
				if a := g.ask(t, method, path, "", header...); a.status != 401 {
					t.Errorf("%s: %s %s with %v: got %d %.200s, want 401", when, rt.method, path, header, a.status, a.body)
				}
			}
		}
		if a := g.ask(t, "GET", "/health", ""); a.status != 200 || strings.Contains(a.body, "upstreams") {
			t.Errorf("%s: /health: %d %s, want the status alone", when, a.status, a.body)
		}
	}
	refused("after the first key")
	gone := false
	for page.Scan() {
		gone = gone || page.Text() == "event: gone"
	}
	if ctx.Err() != nil || !gone {
		t.Errorf("a page that was opened without a key: reason of the end: %t, %v", gone, page.Err())
	}
	if a, _ := post(admin.Key, "", `{"name":"live","scopes":["live"]}`); a.status != 200 {
		t.Errorf("second key: %d %s", a.status, a.body)
	}
	if a, _ := post(admin.Key, "/"+admin.ID+"/revoke", ""); a.status != 409 || !strings.Contains(a.body, "last_admin_key") {
		t.Errorf("revoking the last admin: got %d %s, want 409", a.status, a.body)
	}
	g.app.Batch.MaxInFlight++ // a reload changes nothing
	g.loadAll(t)
	refused("after a reload")

	// The way back: a key in the configuration.
	t.Setenv("RESCUE", "rescue-secret")
	g.app.Keys = []KeyConfig{{Name: "rescue", Secret: "{env.RESCUE}", Scopes: []string{"admin"}}}
	g.loadAll(t)
	if a, _ := post("rescue-secret", "/"+admin.ID+"/revoke", ""); a.status != 200 {
		t.Errorf("revoking with a configured admin: %d %s", a.status, a.body)
	}
}

// TestAuthOffStaysOpen checks that `auth off` admits clients without a key although there
// are managed keys, and that these limit the clients that send them.
func TestAuthOffStaysOpen(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.app.AuthOff = true
	g.runAll(t)
	a, m := g.keys(t, "", "", `{"name":"reader","scopes":["read"]}`)
	if a.status != 200 {
		t.Fatalf("created: %d %s", a.status, a.body)
	}
	for key, want := range map[string]int{"": 200, m.Key: 403, m.Key + "x": 401} {
		header := []string{"Authorization", "Bearer " + key}
		if key == "" {
			header = nil
		}
		if a := g.ask(t, "GET", "/v1/keys", "", header...); a.status != want {
			t.Errorf("key %q: got %d, want %d", key, a.status, want)
		}
	}
	if a, _ := g.keys(t, "", "/"+m.ID+"/revoke", ""); a.status != 200 {
		t.Errorf("revoked: %d %s", a.status, a.body)
	}
}

// TestKeysAreKnownWithoutTheStore checks that a gateway that starts while its store is away
// accepts the keys that it knew before, refuses clients without a key, and learns what was
// revoked meanwhile as soon as the store is back.
func TestKeysAreKnownWithoutTheStore(t *testing.T) {
	lateThere.Store(true)
	_, url := newSim(t)
	g := newGateway(t, url)
	g.app.StoreRaw = []byte(`{"driver": "late"}`)
	live := func(key string) int {
		t.Helper()
		var header []string
		if key != "" {
			header = []string{"Authorization", "Bearer " + key}
		}
		return g.ask(t, "POST", "/v1/chat/completions", chat, header...).status
	}
	var admin, kept, revoked made
	session := func(run func(t *testing.T)) {
		t.Helper()
		t.Run("session", func(t *testing.T) {
			g.run(t)
			run(t)
		})
	}
	session(func(t *testing.T) {
		_, admin = g.keys(t, "", "", `{"name":"admin","scopes":["admin"]}`)
		_, kept = g.keys(t, admin.Key, "", `{"name":"kept"}`)
		_, revoked = g.keys(t, admin.Key, "", `{"name":"revoked"}`)
		if a, _ := g.keys(t, admin.Key, "/"+revoked.ID+"/revoke", ""); a.status != 200 {
			t.Fatalf("revoked: %d %s", a.status, a.body)
		}
	})
	lateThere.Store(false)
	session(func(t *testing.T) {
		for key, want := range map[string]int{kept.Key: 200, admin.Key: 200, revoked.Key: 503, "tg-unknown": 503, "": 401, "wrong": 401} {
			if got := live(key); got != want {
				t.Errorf("without the store, key %.6s…: got %d, want %d", key, got, want)
			}
		}
		lateThere.Store(true)
		until(t, "the store is open", func() bool { return live("tg-unknown") == 401 })
		for key, want := range map[string]int{kept.Key: 200, revoked.Key: 401, "": 401} {
			if got := live(key); got != want {
				t.Errorf("with the store, key %.6s…: got %d, want %d", key, got, want)
			}
		}
	})
	path := filepath.Join(g.app.Data, "tidegate-keys.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	lateThere.Store(false)
	session(func(t *testing.T) {
		if got := live(kept.Key); got != 503 {
			t.Errorf("with an invalid file: got %d, want 503", got)
		}
		lateThere.Store(true)
		until(t, "the store is open", func() bool { return live(kept.Key) == 200 })
	})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() < 100 {
		t.Errorf("the file was not written again: %v, %v", info, err)
	}
}
