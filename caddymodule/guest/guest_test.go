// Package guest tests modules of third parties in the gateway. A registered module stays
// registered, so the tests are not in package caddymodule.
package guest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"

	_ "github.com/tidegate/tidegate/caddymodule"
	"github.com/tidegate/tidegate/internal/vllmsim"
	"github.com/tidegate/tidegate/upstreams"
)

// onlyBalancer is a balancer of a third party: it selects one server.
type onlyBalancer struct {
	URL string `json:"url"`
}

func (*onlyBalancer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate.balancers.only", New: func() caddy.Module { return new(onlyBalancer) }}
}

func (b *onlyBalancer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&b.URL) {
		return d.ArgErr()
	}
	return nil
}

func (b *onlyBalancer) Choose(candidates []*upstreams.Candidate, _ *upstreams.Query) *upstreams.Candidate {
	for _, c := range candidates {
		if c.URL == b.URL {
			return c
		}
	}
	return candidates[0]
}

// TestBalancerOfThirdParty checks that a balancer that another module registers is
// configured in the Caddyfile and selects the servers of live requests.
func TestBalancerOfThirdParty(t *testing.T) {
	caddy.RegisterModule(new(onlyBalancer))
	var sims []*vllmsim.Server
	var urls []string
	for range 2 {
		sim := vllmsim.New(vllmsim.Config{Models: []string{"m"}})
		server := httptest.NewServer(sim)
		t.Cleanup(func() {
			sim.Close()
			server.CloseClientConnections()
			server.Close()
		})
		sims, urls = append(sims, sim), append(urls, server.URL)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{
		admin off
		persist_config off
		log {
			output discard
		}
		tidegate {
			data %s
			pool {
				upstream %s
				balancer only %s
			}
		}
	}
	http://%s {
		tidegate
	}
	`, t.TempDir(), strings.Join(urls, "\n\t\t\t\tupstream "), urls[1], addr)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	const requests = 10
	for i := range requests {
		post(t, "http://"+addr, fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"request %d"}]}`, i))
	}
	if got := [2]int64{sims[0].Stats().Finished, sims[1].Stats().Finished}; got != [2]int64{0, requests} {
		t.Errorf("the servers got %v requests, want all at the second", got)
	}
}

// post sends a chat, again while the servers are still being probed.
func post(t *testing.T, gateway, body string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		answer, err := http.Post(gateway+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode == http.StatusOK {
			return
		}
		if answer.StatusCode != http.StatusServiceUnavailable || time.Now().After(end) {
			t.Fatalf("got %d: %s", answer.StatusCode, text)
		}
	}
}

var (
	_ upstreams.Balancer    = (*onlyBalancer)(nil)
	_ caddyfile.Unmarshaler = (*onlyBalancer)(nil)
)
