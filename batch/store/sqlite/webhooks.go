package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	setTarget = writes(`INSERT INTO webhook_targets (tenant, event, endpoint, metadata, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (tenant, event, endpoint) DO UPDATE SET metadata = excluded.metadata, seen_at = excluded.seen_at`)
	claimDeliveries = writes(`UPDATE webhook_deliveries SET attempts = attempts + 1, owner = ?1, next_at = ?2
		WHERE seq IN (SELECT seq FROM webhook_deliveries WHERE state = 'pending' AND endpoint = ?3 AND next_at <= ?4 AND tenant NOT IN (SELECT value FROM json_each(?6)) ORDER BY next_at LIMIT ?5)
		RETURNING ` + store.DeliveryColumns)
	finishDelivery = writes(`UPDATE webhook_deliveries SET state = ?3, next_at = ?4, ended_at = ?5, http_status = ?6, error = ?7, owner = ''
		WHERE seq = ?1 AND attempts = ?2 AND state = 'pending' AND owner <> ''`)
	endDeliveryLeases = writes(`UPDATE webhook_deliveries SET owner = '', next_at = ? WHERE owner <> ''`)

	pruneTargets = writes(`DELETE FROM webhook_targets WHERE (tenant, event, endpoint) IN
		(SELECT tenant, event, endpoint FROM webhook_targets WHERE seen_at <= ? LIMIT ?)`)
	giveUpDeliveries = writes(`UPDATE webhook_deliveries SET state = 'failed', ended_at = ?1, error = ?2, owner = '' WHERE seq IN
		(SELECT seq FROM webhook_deliveries d WHERE state = 'pending' AND created_at <= ?3 AND next_at <= ?1
			AND NOT EXISTS (SELECT 1 FROM webhook_targets t WHERE t.endpoint = d.endpoint) LIMIT ?4)`)
	pruneDeliveries = writes(`DELETE FROM webhook_deliveries WHERE seq IN
		(SELECT seq FROM webhook_deliveries WHERE ended_at IS NOT NULL AND ended_at <= ? LIMIT ?)`)
)

const (
	selectDeliveries = `SELECT ` + store.DeliveryColumns + ` FROM webhook_deliveries WHERE `
	deliveryOrder    = ` ORDER BY seq DESC LIMIT ?`
)

var (
	deliveriesPage       = reads(selectDeliveries + `seq < ?` + deliveryOrder)
	deliveriesOfTenant   = reads(selectDeliveries + `tenant = ? AND seq < ?` + deliveryOrder)
	deliveriesInState    = reads(selectDeliveries + `state = ? AND seq < ?` + deliveryOrder)
	deliveriesOfTenantIn = reads(selectDeliveries + `tenant = ? AND state = ? AND seq < ?` + deliveryOrder)
)

// SetWebhookTargets stores the targets of a gateway.
func (s *Store) SetWebhookTargets(ctx context.Context, targets []batch.WebhookTarget) error {
	return s.write(ctx, "setting webhook targets", func(t *tx) error {
		for _, to := range store.SortTargets(targets) {
			if _, err := t.exec(ctx, setTarget, to.Tenant, to.Event, to.Endpoint, to.Metadata, store.Micros(t.now)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ClaimDeliveries claims deliveries that are due.
func (s *Store) ClaimDeliveries(ctx context.Context, owner, endpoint string, lease time.Duration, limit int, busy []string) (claimed []batch.Delivery, err error) {
	exclude, err := json.Marshal(append([]string{}, busy...)) // not null
	if err != nil {
		return nil, fmt.Errorf("writing tenants: %w", err)
	}
	err = s.write(ctx, "claiming webhook deliveries", func(t *tx) error {
		claimed, err = all(ctx, t, claimDeliveries, store.ScanDelivery, owner, store.LeaseEnd(t.now, lease), endpoint, store.Micros(t.now), store.LimitOf(limit), string(exclude))
		store.ClaimedAt(claimed, t.now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// FinishDelivery records the result of an attempt.
func (s *Store) FinishDelivery(ctx context.Context, d batch.Delivery, r batch.DeliveryResult) error {
	return s.write(ctx, "finishing webhook delivery", func(t *tx) error {
		return store.Fenced(t.exec(ctx, finishDelivery, d.Seq, d.Attempts, r.State, store.Micros(t.now.Add(r.RetryIn)), store.DeliveryEnd(t.now, r),
			r.HTTPStatus, store.DeliveryError(r.Error)))
	})
}

// Deliveries lists deliveries.
func (s *Store) Deliveries(ctx context.Context, q batch.DeliveryQuery) (page []batch.Delivery, err error) {
	list, args := deliveriesPage, make([]any, 0, 4)
	switch {
	case q.Tenant != "" && q.State != "":
		list, args = deliveriesOfTenantIn, append(args, q.Tenant, q.State)
	case q.Tenant != "":
		list, args = deliveriesOfTenant, append(args, q.Tenant)
	case q.State != "":
		list, args = deliveriesInState, append(args, q.State)
	}
	args = append(args, store.DeliveriesPage(q), store.LimitOf(q.Limit))
	err = s.read(ctx, "listing webhook deliveries", func(t *tx) error {
		page, err = all(ctx, t, list, store.ScanDelivery, args...)
		return err
	})
	return page, err
}

// PruneWebhooks removes old rows of webhooks.
func (s *Store) PruneWebhooks(ctx context.Context, limit int) (n int, err error) {
	err = s.write(ctx, "pruning webhooks", func(t *tx) error {
		n, err = t.pruneWebhooks(ctx, store.LimitOf(limit))
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (t *tx) pruneWebhooks(ctx context.Context, limit int) (int, error) {
	seen, pending, ended := store.WebhookTimes(t.now)
	n, err := t.exec(ctx, pruneTargets, seen, limit)
	if err != nil {
		return 0, err
	}
	gone, err := t.exec(ctx, giveUpDeliveries, store.Micros(t.now), store.EndpointGone, pending, limit-n)
	if err != nil {
		return 0, err
	}
	n += gone
	gone, err = t.exec(ctx, pruneDeliveries, ended, limit-n)
	return n + gone, err
}
