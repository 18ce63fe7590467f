package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/httpapi"
)

// RetryFailed makes a batch of the lines that failed, once: whoever asks again,
// as by a second click, gets the same batch. So it is for a batch that a client has
// retried.
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
	retry, err := b.Engine.RetryFailed(ctx, b.Tenant, id, engine.RetryRequest{Files: b.Files, IdempotencyKey: key})
	return retry.ID, httpapi.Explain(err)
}

// retryOf gives the batch that RetryFailed made of another, "" when there is
// none, and the idempotency key with which one can be made. A batch that is
// deleted keeps its key, so the next one has the next key.
func (b *batches) retryOf(ctx context.Context, id string) (made, key string, err error) {
	for n := 1; ; n++ {
		key = fmt.Sprintf("dashboard retry %d of %s", n, id)
		with, err := b.Engine.RetriedWith(ctx, b.Tenant, id, key)
		switch {
		case gone(err):
			return "", key, nil
		case errors.Is(err, batch.ErrKeyReused): // a client has the same idea of keys
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

// retriedBy looks for a batch of the failed lines of another: one that was made
// here, else one that a client has made, among the newest batches.
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
