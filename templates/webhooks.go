package templates

import "time"

// Webhooks is the page of webhooks.
type Webhooks struct {
	Endpoints  []WebhookEndpoint
	Tests      []WebhookTest // answers to a test event that was just sent
	Deliveries []WebhookDelivery
}

// WebhookEndpoint is a receiver. Address is "" for the addresses in the metadata of batches.
type WebhookEndpoint struct {
	Address, Tenant string
	Events          []string
}

// WebhookTest is the answer of a receiver. Problem is "" if it has accepted the event.
type WebhookTest struct {
	Address, Tenant string
	HTTPStatus      int
	Problem         string
}

// WebhookDelivery is an event for a receiver.
type WebhookDelivery struct {
	Event, BatchID, Tenant string
	Address                string
	State                  string
	Attempts, HTTPStatus   int
	Problem                string
	CreatedAt              time.Time
	NextAt                 time.Time
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

// addressOf returns a receiver's address for people.
func addressOf(address string) string {
	if address == "" {
		return "addresses in the metadata of batches"
	}
	return address
}

// tenantsOf returns the tenants of a receiver for people.
func tenantsOf(tenant string) string {
	if tenant == "*" {
		return "all tenants"
	}
	return tenant
}
