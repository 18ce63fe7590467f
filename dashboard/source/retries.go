package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/httpapi"
)

// RetryFailed creates a batch of the failed lines, once: repeated calls, such as by a
// double click, return the same batch. This includes a retry that a client has
// created.
func (b *batches) RetryFailed(ctx context.Context, id string) (string, error) {
	row, err := b.Engine.Batch(ctx, b.Tenant, id)
	if err != nil {
		return "", err
	}
	if made, err := b.retriedBy(ctx, row); err != nil || made != "" {
		return made, err
	}
	made, key, err := b.retryOf(ctx, id)
	if err != nil || made != "" {
		return made, err
	}
	retry, err := b.Engine.RetryFailed(ctx, b.Tenant, id, engine.RetryRequest{Files: b.Files, IdempotencyKey: key, Quota: b.Files.Quota(b.Tenant)})
	return retry.ID, httpapi.Explain(err)
}

// retryOf returns the batch that RetryFailed created for another one, "" if there is
// none, and the idempotency key for creating one. A deleted batch keeps its key, so
// that the next one uses the next key.
func (b *batches) retryOf(ctx context.Context, id string) (made, key string, err error) {
	for n := 1; ; n++ {
		key = fmt.Sprintf("dashboard retry %d of %s", n, id)
		with, err := b.Engine.RetriedWith(ctx, b.Tenant, id, key)
		switch {
		case gone(err):
			return "", key, nil
		case errors.Is(err, batch.ErrKeyReused): // a client has used the same key
			continue
		case err != nil:
			return "", "", err
		}
		there, err := b.Engine.Batch(ctx, b.Tenant, with.ID)
		if !gone(err) {
			return there.ID, key, err
		}
	}
}

// retriedBy returns the retry of a batch: one created here, or else one that a client
// has created, among the newest batches.
func (b *batches) retriedBy(ctx context.Context, row batch.Batch) (string, error) {
	if made, _, err := b.retryOf(ctx, row.ID); err != nil || made != "" {
		return made, err
	}
	page, err := b.analytics().FindBatches(ctx, b.Tenant, batch.BatchFilter{Text: row.ID, From: row.CreatedAt, Limit: 10})
	if err != nil {
		return "", err
	}
	for _, other := range page.Batches {
		if other.Metadata[engine.RetryOf] == row.ID {
			return other.ID, nil
		}
	}
	return "", nil
}
