package caddymodule

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/webhook"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/internal/openai"
)

// webhookService shows and tests webhooks, for the API and the dashboard.
type webhookService struct{ app *App }

// test sends a test event to the endpoints with an address, or to all for "". Each is in the
// audit log.
func (s webhookService) test(ctx context.Context, address string) ([]webhook.TestResult, error) {
	results, err := s.app.runtime.hooks.Test(ctx, address)
	if err != nil {
		return nil, openai.NotFound("url", "No webhook with this URL is configured. GET /webhooks lists them; addresses in the metadata of batches cannot be tested.")
	}
	for _, t := range results {
		s.app.runtime.auditAction(ctx, batch.AuditWebhookTest, t.Name)
	}
	return results, nil
}

// Test implements dashboard.Webhooks.
func (s webhookService) Test(ctx context.Context, address string) ([]dashboard.WebhookTest, error) {
	if address == "" { // would test all
		return nil, batch.ErrNotFound
	}
	results, err := s.test(ctx, address)
	if err != nil {
		return nil, err
	}
	out := make([]dashboard.WebhookTest, len(results))
	for i, t := range results {
		out[i] = dashboard.WebhookTest{Address: t.Name, Tenant: t.Tenant, HTTPStatus: t.HTTPStatus}
		if t.Err != nil {
			out[i].Problem = t.Err.Error()
		}
	}
	return out, nil
}

// Endpoints implements dashboard.Webhooks.
func (s webhookService) Endpoints() []dashboard.WebhookEndpoint {
	endpoints := s.app.runtime.hooks.Endpoints()
	out := make([]dashboard.WebhookEndpoint, len(endpoints))
	for i, e := range endpoints {
		out[i] = dashboard.WebhookEndpoint{Address: e.Name, Tenant: e.Tenant, Events: e.Events}
		if e.Name == batch.MetadataEndpoint {
			out[i].Address = ""
		}
	}
	return out
}

// Deliveries implements dashboard.Webhooks.
func (s webhookService) Deliveries(ctx context.Context, n int) ([]dashboard.WebhookDelivery, error) {
	page, err := s.app.runtime.hooks.Recent(ctx, batch.DeliveryQuery{Limit: n})
	if err != nil {
		return nil, err
	}
	out := make([]dashboard.WebhookDelivery, len(page))
	for i, d := range page {
		out[i] = dashboard.WebhookDelivery{
			Event: d.Type, BatchID: d.BatchID, Tenant: d.Tenant, Address: d.To, State: string(d.State), Attempts: d.Attempts,
			HTTPStatus: d.HTTPStatus, Problem: d.Error, CreatedAt: d.CreatedAt,
		}
		if d.State == batch.DeliveryPending {
			out[i].NextAt = d.NextAt
		}
	}
	return out, nil
}
