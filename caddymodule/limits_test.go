package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/upstreams"
)

// A managed key has the limits that it was made with, also after a rotation, and GET
// /v1/keys shows them. Values that no limit can have are refused.
func TestManagedKeyLimits(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	for _, bad := range []string{`{"requests_per_minute":-1}`, `{"requests_per_minute":1.5}`, `{"lines_queued":1000000000001}`, `7`} {
		if a, _ := g.keys(t, "admin-secret", "", `{"name":"x","limits":`+bad+`}`); a.status != 400 {
			t.Errorf("limits %s: got %d %s, want 400", bad, a.status, a.body)
		}
	}
	_, k := g.keys(t, "admin-secret", "", `{"name":"limited","limits":{"requests_per_minute":1}}`)
	const chat = `{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}`
	for i, want := range []int{200, 429} {
		if a := g.ask(t, "POST", "/v1/chat/completions", chat, "Authorization", "Bearer "+k.Key); a.status != want {
			t.Errorf("request %d: got %d %s, want %d", i, a.status, a.body, want)
		}
	}
	a, rotated := g.keys(t, "admin-secret", "/"+k.ID+"/rotate", `{}`)
	if !strings.Contains(a.body, `"limits":{"requests_per_minute":1}`) {
		t.Errorf("after the rotation: got %s, want the limits of the key", a.body)
	}
	if a := g.ask(t, "POST", "/v1/chat/completions", chat, "Authorization", "Bearer "+rotated.Key); a.status != 429 {
		t.Errorf("after the rotation: got %d %s, want 429", a.status, a.body)
	}
	until(t, "the use of limits is stored", func() bool {
		_, err := os.Stat(filepath.Join(g.app.Data, "tidegate-limits.json"))
		return err == nil
	})
	info, err := os.Stat(g.app.Data)
	if err != nil || foreign(g.app.Data, info) {
		t.Errorf("got a data directory with files of others, %v, want one of the gateway alone", err)
	}
}

// Each gateway enforces its part of the limits, whether the loads of the others are known or
// not.
func TestPeersShareLimits(t *testing.T) {
	limiter := limits.New(nil)
	limiter.Apply(limits.Config{Tenants: map[string]access.Limits{"a": {RequestsPerMinute: 60}}})
	pool := upstreams.NewPool(zap.NewNop())
	t.Cleanup(pool.Close)
	d := dispatcher{Pool: pool, limits: limiter, retired: new(atomic.Bool)}
	for _, loads := range []map[string]batch.Load{{}, nil} {
		d.SetPeers(batch.Peers{}, map[string]batch.Load{})
		d.SetPeers(batch.Peers{All: 2}, loads)
		grant, refused := limiter.Admit(limits.Client{Tenant: "a"}, limits.Spend{Tokens: 1})
		if refused != nil {
			t.Fatal(refused.Error())
		}
		grant.End(limits.Outcome{}) // refunds it
		if left := limiter.Usage()[0].Remaining["requests_per_minute"]; left != 20 {
			t.Errorf("with two peers: got %d left, want 20", left)
		}
	}
}
