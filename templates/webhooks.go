package templates

import "time"

// Webhooks is the page of webhooks.
type Webhooks struct {
	Endpoints  []WebhookEndpoint
	Tests      []WebhookTest // answers to a test event that was just sent
	Deliveries []WebhookDelivery
}

// WebhookEndpoint is a receiver for one tenant, "*" for all tenants. Address is "" for the
// addresses in the metadata of batches, which cannot be tested.
type WebhookEndpoint struct {
	Address, Tenant string
	Events          []string
}

// WebhookTest is the answer of a receiver to a test event.
type WebhookTest struct {
	Address, Tenant string
	HTTPStatus      int    // 0 without an answer
	Problem         string // "" if it has accepted the event
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

// deliveryTone returns the class of the state of a delivery.
func deliveryTone(state string) string {
	switch state {
	case "delivered":
		return "state is-good"
	case "failed":
		return "state is-bad"
	}
	return "state is-quiet"
}

// tenantsOf returns the tenants of a receiver for people.
func tenantsOf(tenant string) string {
	if tenant == "*" {
		return "all tenants"
	}
	return tenant
}
