package dashboard

import (
	"context"
	"net/http"

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

// The page shows what the source returns.
type (
	WebhookEndpoint = templates.WebhookEndpoint
	WebhookDelivery = templates.WebhookDelivery
	WebhookTest     = templates.WebhookTest
)

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
	v := templates.Webhooks{Endpoints: d.source.Webhooks.Endpoints(), Tests: answers, Deliveries: deliveries}
	return d.render(w, r, http.StatusOK, templates.WebhooksPage(s, v))
}
