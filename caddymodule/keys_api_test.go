package caddymodule

import (
	"bufio"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// made is the answer of a route that makes a key.
type made struct{ ID, Key string }

func (g *gateway) keys(t *testing.T, key, path, body string) (answer, made) {
	t.Helper()
	a := g.ask(t, "POST", "/v1/keys"+path, body, "Authorization", "Bearer "+key, "Content-Type", "application/json")
	var m made
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return a, m
}

// TestManagedKeys follows a key from its creation to its revocation.
func TestManagedKeys(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	status := func(key, path string) int {
		return g.ask(t, "GET", path, "", "Authorization", "Bearer "+key).status
	}
	a, first := g.keys(t, "admin-secret", "", `{"name":"nightly","tenant":"team-c","scopes":["read"]}`)
	if a.status != 200 || !strings.HasPrefix(first.Key, "tg-") || len(first.Key) < 40 {
		t.Fatalf("created: %d %s", a.status, a.body)
	}
	if got := status(first.Key, "/v1/batches"); got != 200 {
		t.Errorf("new key: got %d, want 200", got)
	}
	if got := status(first.Key, "/v1/keys"); got != 403 {
		t.Errorf("keys with the scope read: got %d, want 403", got)
	}
	if got := status(first.Key[:len(first.Key)-1], "/v1/batches"); got != 401 {
		t.Errorf("the beginning of a key: got %d, want 401", got)
	}
	list := g.ask(t, "GET", "/v1/keys", "", bearer("admin")...)
	if !strings.Contains(list.body, first.ID) || strings.Contains(list.body, first.Key) || strings.Contains(list.body, "hash") {
		t.Errorf("list: %s, want the key's id alone", list.body)
	}
	_, second := g.keys(t, "admin-secret", "/"+first.ID+"/rotate", `{"overlap_seconds":3600}`)
	for _, key := range []string{first.Key, second.Key} {
		if got := status(key, "/v1/batches"); got != 200 {
			t.Errorf("rotated key within the overlap: got %d, want 200", got)
		}
	}
	if a, _ := g.keys(t, "admin-secret", "/"+first.ID+"/revoke", ""); a.status != 200 {
		t.Errorf("revoked: %d %s", a.status, a.body)
	}
	for _, key := range []string{first.Key, second.Key} {
		if got := status(key, "/v1/batches"); got != 401 {
			t.Errorf("revoked key: got %d, want 401", got)
		}
	}
	if a, _ := g.keys(t, "admin-secret", "/"+first.ID+"/rotate", ""); a.status != 409 {
		t.Errorf("rotation of a revoked key: got %d, want 409", a.status)
	}
	for body, want := range map[string]int{`{}`: 400, `{"name":"x","scopes":["root"]}`: 400, `{"name":"x","tenant":"a/b"}`: 400, `{"name":"x","expires_at":1}`: 400, `{"name":"x","key":"mine"}`: 400, `[]`: 400, `{"name":"a\u001bb"}`: 400} {
		if a, _ := g.keys(t, "admin-secret", "", body); a.status != want {
			t.Errorf("%s: got %d %s, want %d", body, a.status, a.body, want)
		}
	}
}

// TestStreamsOfRevokedKeys checks that the event streams of a managed key end when it is
// revoked.
func TestStreamsOfRevokedKeys(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open := func(key string) *bufio.Scanner { return g.eventStream(t, ctx, "Authorization", "Bearer "+key) }
	_, m := g.keys(t, "admin-secret", "", `{"name":"viewer","tenant":"team-a","scopes":["read"]}`)
	configured, managed := open("read-secret"), open(m.Key)
	if a, _ := g.keys(t, "admin-secret", "/"+m.ID+"/revoke", ""); a.status != 200 {
		t.Fatalf("revoked: %d %s", a.status, a.body)
	}
	gone := false
	for managed.Scan() {
		gone = gone || managed.Text() == "event: gone"
	}
	if ctx.Err() != nil || !gone {
		t.Errorf("the stream of a revoked key: reason of the end: %t, %v", gone, managed.Err())
	}
	for range 20 { // sections of the page that are sent after the end of the other stream, or before
		if !configured.Scan() || configured.Text() == "event: gone" {
			t.Fatalf("the stream of another key ended: %v", configured.Err())
		}
	}
}

// TestNoMoreRights checks that an administrator with a limit makes only keys within it.
func TestNoMoreRights(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	_, limited := g.keys(t, "admin-secret", "", `{"name":"limited","scopes":["admin"],"models":["m"]}`)
	_, wide := g.keys(t, "admin-secret", "", `{"name":"wide"}`)
	_, slow := g.keys(t, "admin-secret", "", `{"name":"slow","scopes":["admin"],"limits":{"requests_per_minute":5}}`)
	for limits, want := range map[string]int{`{}`: 403, `{"requests_per_minute":6}`: 403, `{"requests_per_minute":5,"lines_queued":1}`: 200} {
		if a, _ := g.keys(t, slow.Key, "", `{"name":"x","limits":`+limits+`}`); a.status != want {
			t.Errorf("limits %s: got %d %s, want %d", limits, a.status, a.body, want)
		}
	}
	for _, tt := range []struct {
		path string
		want int
	}{{"", 403}, {"/" + wide.ID + "/rotate", 403}, {"/" + limited.ID + "/rotate", 200}} { // the last one replaces the key
		path, want := tt.path, tt.want
		body := `{}`
		if path == "" {
			body = `{"name":"x"}`
		}
		if a, _ := g.keys(t, limited.Key, path, body); a.status != want {
			t.Errorf("%s: got %d %s, want %d", path, a.status, a.body, want)
		}
	}
}
