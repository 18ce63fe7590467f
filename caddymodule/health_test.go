package caddymodule

import (
	"fmt"
	"strings"
	"testing"
)

// TestHealthOfTenants checks that batches of a tenant are in the health, in the doctor's
// report and on the pages of this tenant only. Administrators see those of all tenants.
func TestHealthOfTenants(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.app.Batch.StopAfter, g.app.Batch.MaxInFlight = 2, 1
	g.runAll(t)
	var lines strings.Builder
	for i := range 200 {
		fmt.Fprintf(&lines, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"%s","max_tokens":-1,"messages":[{"role":"user","content":"canary"}]}}`+"\n", i, model)
	}
	_, own := g.createOf(t, "batch", strings.TrimSpace(lines.String()))
	_, foreign := g.createOf(t, "other", strings.TrimSpace(lines.String()))
	until(t, "both batches are paused", func() bool {
		text := g.ask(t, "GET", "/health", "", bearer("admin")...).body
		return strings.Contains(text, own) && strings.Contains(text, foreign)
	})
	for _, c := range []struct {
		key, sees, not string
	}{{"operate", own, foreign}, {"other", foreign, own}} {
		for _, path := range []string{"/health", "/doctor", "/dashboard/doctor", "/dashboard/"} {
			text := ""
			until(t, path+" has the tenant's own batch", func() bool {
				text = g.ask(t, "GET", path, "", bearer(c.key)...).body
				return strings.Contains(text, c.sees)
			})
			if strings.Contains(text, c.not) {
				t.Errorf("%s with the key %s has the batch of another tenant:\n%s", path, c.key, text)
			}
		}
	}
	until(t, "the doctor's report for administrators has both batches", func() bool {
		text := g.ask(t, "GET", "/doctor", "", bearer("admin")...).body
		return strings.Contains(text, own) && strings.Contains(text, foreign)
	})
}
