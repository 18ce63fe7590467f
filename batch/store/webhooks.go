package store

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// DeliveryColumns are the columns that ScanDelivery scans.
const DeliveryColumns = `seq, batch_id, tenant, event, endpoint, url, state, attempts, created_at, next_at, ended_at, http_status, error`

// MaxDeliveryError limits the stored error of an attempt, in bytes.
const MaxDeliveryError = 500

// ScanDelivery scans DeliveryColumns.
func ScanDelivery(r Row) (d batch.Delivery, err error) {
	err = r.Scan(&d.Seq, &d.BatchID, &d.Tenant, &d.Event, &d.Endpoint, &d.URL, &d.State, &d.Attempts,
		timeIn{&d.CreatedAt}, timeIn{&d.NextAt}, timeIn{&d.EndedAt}, &d.HTTPStatus, &d.Error)
	return d, err
}

// ClaimedAt sets the ages of deliveries that were claimed at now.
func ClaimedAt(deliveries []batch.Delivery, now time.Time) {
	for i := range deliveries {
		deliveries[i].Age = max(now.Sub(deliveries[i].CreatedAt), 0)
	}
}

// DeliveryEnd returns when a delivery ends with this result, NULL if it is retried.
func DeliveryEnd(now time.Time, r batch.DeliveryResult) *int64 {
	if r.State == batch.DeliveryPending {
		return nil
	}
	return new(Micros(now))
}

// DeliveryError returns the error of an attempt in the form in which it is stored.
func DeliveryError(text string) string {
	if len(text) > MaxDeliveryError {
		text = text[:MaxDeliveryError]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// WebhookTimes returns the times before which targets and pending and ended deliveries are
// pruned.
func WebhookTimes(now time.Time) (seen, pending, ended int64) {
	return Micros(now.Add(-batch.WebhookTargetTTL)), Micros(now.Add(-batch.WebhookRetryTime)), Micros(now.Add(-batch.WebhookHistory))
}

// EndpointGone is the error of deliveries that were given up because no gateway has their
// endpoint in its configuration.
const EndpointGone = "no gateway is configured with this endpoint any more"

// SortTargets returns targets in the order in which gateways write them, which keeps
// concurrent writes from waiting for each other in a circle.
func SortTargets(targets []batch.WebhookTarget) []batch.WebhookTarget {
	return slices.SortedFunc(slices.Values(targets), func(a, b batch.WebhookTarget) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Event, b.Event), cmp.Compare(a.Endpoint, b.Endpoint))
	})
}

// DeliveriesPage returns the position before the first delivery of a query.
func DeliveriesPage(q batch.DeliveryQuery) (before int64) {
	if q.Before == 0 {
		return NewestFirst
	}
	return q.Before
}

// WebhookURL returns the address of a webhook in the metadata of a batch, "" without one. An
// address with U+0000, which no column of text can hold, is none.
func WebhookURL(metadata map[string]string) string {
	url := metadata[batch.WebhookKey]
	if strings.Contains(url, "\x00") {
		return ""
	}
	return url
}
