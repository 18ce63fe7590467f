package dashboardtest

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
)

// hooks are a receiver that accepts events, one that refuses them, and addresses in metadata.
type hooks struct{ *Fake }

func (h hooks) addresses() (good, bad string) {
	return "https://app.example.com/" + h.Say("hooks"), "https://10.0.0.7/" + h.Say("private")
}

func (h hooks) Endpoints() []templates.WebhookEndpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.size == 0 {
		return nil
	}
	good, bad := h.addresses()
	return []templates.WebhookEndpoint{
		{Address: good, Tenant: batch.AllTenants, Events: []string{"batch.completed", "batch.failed"}},
		{Address: bad, Tenant: h.Say("team-1"), Events: []string{"batch.expired"}},
		{Tenant: h.Say("team-1"), Events: []string{"batch.completed"}},
	}
}

func (h hooks) Deliveries(_ context.Context, n int) ([]templates.WebhookDelivery, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing != nil || h.size == 0 {
		return nil, h.failing
	}
	good, bad := h.addresses()
	now := h.Clock()
	id := "batch_000000000000000044c63df030c8bbc4"
	all := []templates.WebhookDelivery{
		{Event: "batch.completed", BatchID: id, Tenant: h.Say("team-1"), Address: bad, State: "pending", Attempts: 3, HTTPStatus: 503, Problem: h.Say("the receiver answered 503"), CreatedAt: now.Add(-time.Minute), NextAt: now.Add(time.Hour)},
		{Event: "batch.failed", BatchID: id, Tenant: h.Say("team-1"), State: "failed", Attempts: 20, Problem: h.Say("connection refused"), CreatedAt: now.Add(-48 * time.Hour)},
		{Event: "batch.completed", BatchID: id, Tenant: h.Say("team-1"), Address: good, State: "delivered", Attempts: 1, HTTPStatus: 200, CreatedAt: now.Add(-49 * time.Hour)},
	}
	return all[:min(n, len(all))], nil
}

func (h hooks) Test(_ context.Context, address string) ([]templates.WebhookTest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing != nil {
		return nil, h.failing
	}
	good, bad := h.addresses()
	switch address {
	case good:
		return []templates.WebhookTest{{Address: good, Tenant: batch.AllTenants, HTTPStatus: 204}}, nil
	case bad:
		return []templates.WebhookTest{{Address: bad, Tenant: h.Say("team-1"), Problem: h.Say("the address is private")}}, nil
	}
	return nil, batch.ErrNotFound
}
