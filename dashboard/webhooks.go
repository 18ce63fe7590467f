package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/templates"
)

// webhooksShown is the number of deliveries on the page of webhooks.
const webhooksShown = 50

// Webhooks provides the receivers of webhooks and what was sent to them, of all tenants.
// Addresses are without their query, which may be a secret.
type Webhooks interface {
	Endpoints() []WebhookEndpoint
	// Deliveries returns the newest n deliveries, the newest first.
	Deliveries(ctx context.Context, n int) ([]WebhookDelivery, error)
	// Test sends a test event to the endpoints with an address, and returns what they
	// answered. The error is batch.ErrNotFound for an address that is not configured.
	Test(ctx context.Context, address string) ([]WebhookTest, error)
}

// WebhookEndpoint is a receiver for one tenant, "*" for all tenants. Address is "" for the
// addresses in the metadata of batches, which cannot be tested.
type WebhookEndpoint struct {
	Address, Tenant string
	Events          []string
}

// WebhookDelivery is an event that was or will be sent to a receiver.
type WebhookDelivery struct {
	Event, BatchID, Tenant string
	Address                string // "" if no endpoint of this gateway has it
	State                  string // pending, delivered or failed
	Attempts, HTTPStatus   int    // HTTPStatus is 0 without an answer
	Problem                string // of the last attempt
	CreatedAt              time.Time
	NextAt                 time.Time // of the next attempt; zero if there is none
}

// WebhookTest is the answer of a receiver to a test event.
type WebhookTest struct {
	Address, Tenant string
	HTTPStatus      int   // 0 without an answer
	Err             error // nil if it was accepted
}

func (d *Dashboard) webhooks(w http.ResponseWriter, r *http.Request) error {
	return d.webhookPage(w, r, nil)
}

// testWebhook shows the page with the answers to a test event. Nothing is stored, so that
// the answers are on this page only.
func (d *Dashboard) testWebhook(w http.ResponseWriter, r *http.Request) error {
	if !d.form(w, r) {
		return nil
	}
	answers, err := d.source.Webhooks.Test(r.Context(), r.PostForm.Get("address"))
	if err != nil {
		return err
	}
	return d.webhookPage(w, r, answers)
}

func (d *Dashboard) webhookPage(w http.ResponseWriter, r *http.Request, answers []WebhookTest) error {
	deliveries, err := d.source.Webhooks.Deliveries(r.Context(), webhooksShown)
	if err != nil {
		return err
	}
	s := d.site(r, "Webhooks", "Webhooks")
	var v templates.Webhooks
	for _, e := range d.source.Webhooks.Endpoints() {
		v.Endpoints = append(v.Endpoints, templates.WebhookEndpoint(e))
	}
	for _, a := range answers {
		row := templates.WebhookTest{Address: a.Address, Tenant: a.Tenant, HTTPStatus: a.HTTPStatus}
		if a.Err != nil {
			row.Problem = a.Err.Error()
		}
		v.Tests = append(v.Tests, row)
	}
	for _, e := range deliveries {
		v.Deliveries = append(v.Deliveries, templates.WebhookDelivery(e))
	}
	return d.render(w, r, http.StatusOK, templates.WebhooksPage(s, v))
}
