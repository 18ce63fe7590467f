package dashboard_test

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/templates"
)

// TestGateways checks that the first page shows the role of each gateway.
func TestGateways(t *testing.T) {
	page := build(t, nil).page("/")
	for _, want := range []string{"Gateways", "front-1", "(this one)", "live requests and the API", "worker-1", "batch work", "old", "everything"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q on the first page", want)
		}
	}
}

// Gateways of one host are distinguished by their IDs; others have only their host.
func TestGatewaysOfOneHost(t *testing.T) {
	h := build(t, nil)
	now, err := h.Source().Overview.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	page, hosts := h.page("/"), make(map[string]int)
	for _, g := range now.Gateways {
		hosts[g.Host]++
	}
	for _, g := range now.Gateways {
		want := hosts[g.Host] > 1
		if got := strings.Contains(page, g.ID[:8]); got != want {
			t.Errorf("gateway %s on %s: the ID is shown: got %t, want %t", g.ID, g.Host, got, want)
		}
	}
	if hosts["front-1"] != 2 {
		t.Errorf("got hosts %v, want two gateways on front-1", hosts)
	}
}

// What is in flight is that of all gateways, as the rates beside it are, and no limit
// of one gateway stands beside it. The list is a panel like the others.
func TestInFlightOfAllGateways(t *testing.T) {
	h := build(t, nil)
	now, err := h.Source().Overview.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var live, lines int64
	for _, u := range now.Upstreams {
		live += int64(u.LiveInFlight)
		lines += int64(u.BatchInFlight)
	}
	queue := now.Queue.InFlight
	for _, g := range now.Gateways[1:] {
		live += int64(g.Live)
		lines += int64(g.Batch)
		queue += int64(g.Batch)
	}
	page := h.page("/")
	for what, want := range map[string]string{
		"the lines in flight":      `<span class="big">` + templates.Count(queue) + `</span> </dd>`,
		"a panel":                  `<section aria-labelledby="h-gateways"><h2 id="h-gateways">Gateways</h2>`,
		"the live requests of Now": `<td class="n big">` + templates.Count(live) + `</td>`,
		"the lines of Now":         `<td class="n big">` + templates.Count(lines) + `</td>`,
		"both":                     `<td class="n big">` + templates.Count(live+lines) + `</td>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the first page does not have %s: %s", what, want)
		}
	}
	if strings.Contains(page, "since 11:05") || !strings.Contains(page, ">11:05:09</time>") {
		t.Error("the first page does not say under Started when a gateway started")
	}
	wall := h.page("/wall")
	for _, want := range []string{`tone-live big">` + templates.Count(live) + `<`, `tone-batch big">` + templates.Count(lines) + `<`} {
		if !strings.Contains(wall, want) {
			t.Errorf("the wall does not have %s", want)
		}
	}
}
