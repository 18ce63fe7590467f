package batch

import (
	"context"
	"time"
)

// WebhookKey is the metadata key with which a batch names the address of its own webhook.
const WebhookKey = "tidegate_webhook_url"

// MetadataEndpoint is the endpoint of the addresses that batches name in their metadata.
const MetadataEndpoint = "metadata"

const (
	// WebhookRetryTime limits the time for which a delivery is retried.
	WebhookRetryTime = 24 * time.Hour
	// WebhookTargetTTL is the time after which a target that is not set again is removed.
	WebhookTargetTTL = time.Hour
	// WebhookHistory is the time for which deliveries are listed after their end.
	WebhookHistory = 7 * 24 * time.Hour
)

// WebhookStore is the outbox of webhooks. The transaction that ends a batch adds a
// delivery for each target of its tenant and its final state, so that every end is
// delivered and none twice. Deliveries do not depend on the batch: the deletion of an ended
// batch removes none, and the deletion of a running batch adds those of its cancellation.
type WebhookStore interface {
	// SetWebhookTargets sets the targets that a gateway has configured. Batches that end
	// later get deliveries for them. A target that no gateway has set for
	// WebhookTargetTTL is removed by PruneWebhooks.
	SetWebhookTargets(ctx context.Context, targets []WebhookTarget) error
	// ClaimDeliveries claims up to limit deliveries of an endpoint that are due, the
	// longest due first, without those of the tenants in busy. Attempts is incremented; a
	// delivery that is not finished within the lease is due again.
	ClaimDeliveries(ctx context.Context, owner, endpoint string, lease time.Duration, limit int, busy []string) ([]Delivery, error)
	// FinishDelivery records the result of an attempt. It returns ErrStale if a later
	// attempt has claimed the delivery.
	FinishDelivery(ctx context.Context, d Delivery, r DeliveryResult) error
	// Deliveries lists deliveries of a tenant, the newest first.
	Deliveries(ctx context.Context, q DeliveryQuery) ([]Delivery, error)
	// PruneWebhooks removes targets that are not set any more and deliveries that ended
	// more than WebhookHistory ago. Pending deliveries older than WebhookRetryTime whose
	// endpoint is no target any more become DeliveryFailed. It returns how many rows it
	// changed.
	PruneWebhooks(ctx context.Context, limit int) (int, error)
}

// WebhookTarget says that an endpoint receives the ends of a tenant's batches in a state.
type WebhookTarget struct {
	Endpoint string // id of the endpoint, or MetadataEndpoint with a suffix
	Tenant   string // or AllTenants
	Event    Status // a terminal state
	// Metadata limits the target to batches that have WebhookKey in their metadata.
	Metadata bool
}

// DeliveryState is the state of a delivery.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryPending   DeliveryState = "pending"
	DeliveryDelivered DeliveryState = "delivered"
	DeliveryFailed    DeliveryState = "failed"
)

// Delivery is one event for one endpoint.
type Delivery struct {
	Seq      int64 // identifies it
	BatchID  string
	Tenant   string
	Event    Status // the final state of the batch
	Endpoint string
	URL      string // from the metadata of the batch; "" for a configured endpoint
	State    DeliveryState
	Attempts int // claims so far: the fencing token of the last one
	// CreatedAt is when the batch ended, NextAt when the next attempt is due, EndedAt when
	// it was delivered or given up.
	CreatedAt, NextAt, EndedAt time.Time
	// HTTPStatus is the status of the last answer, 0 if there was none.
	HTTPStatus int
	// Error says why the last attempt failed.
	Error string
	// Age is the time since CreatedAt at the claim. Only ClaimDeliveries sets it.
	Age time.Duration
}

// DeliveryResult is the result of an attempt.
type DeliveryResult struct {
	State      DeliveryState
	RetryIn    time.Duration // if State is DeliveryPending
	HTTPStatus int
	Error      string
}

// DeliveryQuery selects deliveries; zero fields select any.
type DeliveryQuery struct {
	Tenant string
	State  DeliveryState
	Before int64 // Seq of the last delivery of the page before
	Limit  int
}
