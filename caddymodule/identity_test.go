package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/internal/pgtest"
)

// Whatever is set of a place makes another runtime when it changes: a password
// that was changed and is not used would be noticed only when the old one ends.
func TestIdentity(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_SECRET", "hunter2")
	queue := func(t *testing.T, config string) string {
		q := new(RedisQueue)
		provision(t, config, q, q.Provision)
		return q.Identity()
	}
	files := func(t *testing.T, config string) string {
		f := new(S3Files)
		provision(t, config, f, f.Provision)
		return f.Identity("")
	}
	store := func(t *testing.T, config string) string {
		s := new(PostgresStore)
		provision(t, config, s, s.Provision)
		return s.Identity("")
	}
	for name, c := range map[string]struct {
		identity func(*testing.T, string) string
		configs  []string // all different
	}{
		"redis": {queue, []string{
			`{"url": "redis://gate:{env.TIDEGATE_TEST_SECRET}@host"}`, `{"url": "redis://gate:other@host"}`, `{"url": "redis://gate:other@host", "timeout": "1s"}`,
			`{"url": "redis://gate:other@host", "idle": "1h"}`, `{"url": "rediss://gate:other@host"}`, `{"url": "rediss://gate:other@host?insecure=true"}`,
		}},
		"s3": {files, []string{
			`{"url": "s3://bucket?region=r", "access_key": "a", "secret_key": "{env.TIDEGATE_TEST_SECRET}"}`, `{"url": "s3://bucket?region=r", "access_key": "a", "secret_key": "other"}`,
			`{"url": "s3://bucket?region=r&sse=AES256"}`, `{"url": "s3://bucket?region=r&timeout=5s"}`, `{"url": "s3://bucket?region=r"}`,
		}},
		"postgres": {store, []string{
			`{"url": "postgres://u:{env.TIDEGATE_TEST_SECRET}@host/d"}`, `{"url": "postgres://u:other@host/d"}`, `{"url": "postgres://u:other@host/d", "max_conns": 7}`,
			`{"url": "postgres://u:other@host/d", "connect_timeout": "1s"}`, `{"url": "postgres://u:other@host/d", "statement_timeout": "1s"}`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(map[string]string)
			for _, config := range c.configs {
				identity := c.identity(t, config)
				if same := c.identity(t, config); same != identity {
					t.Errorf("%s is %q and %q", config, identity, same)
				}
				if other, is := seen[identity]; is {
					t.Errorf("%s is the same as %s", config, other)
				}
				seen[identity] = config
				if strings.Contains(identity, "hunter2") {
					t.Errorf("the secret is shown: %s", identity)
				}
			}
		})
	}
}

func provision(t *testing.T, config string, module any, provision func(caddy.Context) error) {
	t.Helper()
	if err := json.Unmarshal([]byte(config), module); err != nil {
		t.Fatal(err)
	}
	if err := provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
}

// A reload that changes how a place is used makes a gateway that does, on the
// same files and batches, and ends the old one.
func TestReloadOfAPlace(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	_, one := newSim(t)
	g := newGateway(t, one)
	set := func(conns int) {
		store, err := json.Marshal(map[string]any{"driver": "postgres", "url": url, "max_conns": conns})
		if err != nil {
			t.Fatal(err)
		}
		g.app.StoreRaw = store
	}
	set(4)
	g.run(t)
	before := g.runtime(t)
	file := g.upload(t)
	set(8)
	g.load(t)
	if g.runtime(t) == before {
		t.Error("the runtime is the old one")
	}
	if a := g.ask(t, "GET", "/v1/files/"+file, ""); a.status != 200 {
		t.Errorf("the file is gone: %d %s", a.status, a.body)
	}
}
