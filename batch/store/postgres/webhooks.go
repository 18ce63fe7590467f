package postgres

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	setTarget = declare(`INSERT INTO webhook_targets (tenant, event, endpoint, metadata, seen_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant, event, endpoint) DO UPDATE SET metadata = excluded.metadata, seen_at = excluded.seen_at`)
	claimDeliveries = declare(`UPDATE webhook_deliveries SET attempts = attempts + 1, owner = $1, next_at = $2
		WHERE seq = ANY (ARRAY(SELECT seq FROM webhook_deliveries WHERE state = 'pending' AND endpoint = $3 AND next_at <= $4 AND tenant <> ALL ($6::text[])
			ORDER BY next_at LIMIT $5 FOR UPDATE SKIP LOCKED))
		RETURNING ` + store.DeliveryColumns)
	finishDelivery = declare(`UPDATE webhook_deliveries SET state = $3, next_at = $4, ended_at = $5, http_status = $6, error = $7, owner = ''
		WHERE seq = $1 AND attempts = $2 AND state = 'pending' AND owner <> ''`)

	pruneTargets = declare(`DELETE FROM webhook_targets WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM webhook_targets WHERE seen_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))`)
	giveUpDeliveries = declare(`UPDATE webhook_deliveries SET state = 'failed', ended_at = $1, error = $2, owner = '' WHERE seq = ANY (ARRAY(
		SELECT seq FROM webhook_deliveries d WHERE state = 'pending' AND created_at <= $3 AND next_at <= $1
			AND NOT EXISTS (SELECT 1 FROM webhook_targets t WHERE t.endpoint = d.endpoint) LIMIT $4 FOR UPDATE OF d SKIP LOCKED))`)
	pruneDeliveries = declare(`DELETE FROM webhook_deliveries WHERE seq = ANY (ARRAY(
		SELECT seq FROM webhook_deliveries WHERE ended_at IS NOT NULL AND ended_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))`)
)

const (
	selectDeliveries = `SELECT ` + store.DeliveryColumns + ` FROM webhook_deliveries WHERE `
	deliveryOrder    = ` ORDER BY seq DESC LIMIT $2`
)

var (
	deliveriesPage       = declare(selectDeliveries + `seq < $1` + deliveryOrder)
	deliveriesOfTenant   = declare(selectDeliveries + `seq < $1 AND tenant = $3` + deliveryOrder)
	deliveriesInState    = declare(selectDeliveries + `seq < $1 AND state = $3` + deliveryOrder)
	deliveriesOfTenantIn = declare(selectDeliveries + `seq < $1 AND tenant = $3 AND state = $4` + deliveryOrder)
)

// SetWebhookTargets stores the targets of a gateway.
func (s *Store) SetWebhookTargets(ctx context.Context, targets []batch.WebhookTarget) error {
	return s.write(ctx, "setting webhook targets", func(t *tx) error {
		for _, to := range store.SortTargets(targets) {
			t.later(setTarget, to.Tenant, to.Event, to.Endpoint, to.Metadata, t.micros())
		}
		return nil
	})
}

// ClaimDeliveries claims deliveries that are due.
func (s *Store) ClaimDeliveries(ctx context.Context, owner, endpoint string, lease time.Duration, limit int, busy []string) (claimed []batch.Delivery, err error) {
	err = s.write(ctx, "claiming webhook deliveries", func(t *tx) error {
		claimed, err = all(ctx, t, store.ScanDelivery, claimDeliveries, owner, store.LeaseEnd(t.now, lease), endpoint, t.micros(), store.LimitOf(limit), append([]string{}, busy...))
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
	sql, args := deliveriesPage, []any{store.DeliveriesPage(q), store.LimitOf(q.Limit)}
	switch {
	case q.Tenant != "" && q.State != "":
		sql, args = deliveriesOfTenantIn, append(args, q.Tenant, q.State)
	case q.Tenant != "":
		sql, args = deliveriesOfTenant, append(args, q.Tenant)
	case q.State != "":
		sql, args = deliveriesInState, append(args, q.State)
	}
	err = s.read(ctx, "listing webhook deliveries", func(t *tx) error {
		page, err = all(ctx, t, store.ScanDelivery, sql, args...)
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
	gone, err := t.exec(ctx, giveUpDeliveries, t.micros(), store.EndpointGone, pending, limit-n)
	if err != nil {
		return 0, err
	}
	n += gone
	gone, err = t.exec(ctx, pruneDeliveries, ended, limit-n)
	return n + gone, err
}
