package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	batchColumns = `id, tenant, endpoint, input_file_id, completion_window, metadata, priority, output_ttl, status, ending, model, errors,
		total, completed, failed, input_tokens, cached_tokens, output_tokens, reasoning_tokens, total_tokens, output_file_id, error_file_id,
		created_at, expires_at, in_progress_at, finalizing_at, completed_at, failed_at, expired_at, cancelling_at, cancelled_at, paused_at, index_file_id`

	// unclaim goes with every change of state: claims from before are stale.
	unclaim = `attempt = attempt + 1, owner = '', lease_until = 0`
)

var (
	insertBatch = writes(`INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, metadata, priority, output_ttl,
			idempotency_key, request_hash, status, created_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'validating', ?, ?) RETURNING ` + batchColumns)
	selectRepeated = reads(`SELECT ` + batchColumns + `, request_hash FROM batches WHERE tenant = ? AND idempotency_key = ? AND idempotency_key <> ''`)
	selectInput    = reads(`SELECT seq FROM files WHERE id = ?2 AND tenant = ?3 AND ` + fileVisible)
	selectBatch    = reads(`SELECT ` + batchColumns + ` FROM batches WHERE id = ? AND tenant = ? AND deleted_at IS NULL`)

	batchCursor = reads(`SELECT seq FROM batches WHERE id = ? AND tenant = ?`)
	batchesPage = reads(`SELECT ` + batchColumns + ` FROM batches WHERE tenant = ? AND seq < ? AND deleted_at IS NULL ORDER BY seq DESC LIMIT ?`)

	cancelBatch = writes(`UPDATE batches SET status = 'cancelling', ending = 'cancelled', cancelling_at = ?, ` + unclaim + `
		WHERE id = ? RETURNING ` + batchColumns)
	hideBatch       = writes(`UPDATE batches SET deleted_at = ? WHERE id = ? RETURNING seq, input`)
	selectOtherUser = reads(`SELECT EXISTS (SELECT 1 FROM batches WHERE input = ? AND deleted_at IS NULL AND seq <> ?)`)
	hideInput       = writes(`UPDATE files SET deleted_at = ?1 WHERE seq = ?2 AND ` + fileVisible)
)

func scanBatch(r row) (batch.Batch, error) { return scanBatchAnd(r) }

// scanBatchAnd scans batchColumns and what a statement gives behind them.
func scanBatchAnd(r row, more ...any) (batch.Batch, error) {
	var (
		b                  batch.Batch
		metadata, findings []byte
	)
	err := r.Scan(append([]any{
		&b.ID, &b.Tenant, &b.Endpoint, &b.InputFileID, &b.CompletionWindow, &metadata, &b.Priority,
		durationIn{&b.OutputTTL},
		&b.Status, &b.Ending, &b.Model, &findings,
		&b.Counts.Total, &b.Counts.Completed, &b.Counts.Failed,
		&b.Usage.InputTokens, &b.Usage.InputTokensDetails.CachedTokens,
		&b.Usage.OutputTokens, &b.Usage.OutputTokensDetails.ReasoningTokens, &b.Usage.TotalTokens,
		&b.OutputFileID, &b.ErrorFileID,
		timeIn{&b.CreatedAt},
		timeIn{&b.ExpiresAt},
		timeIn{&b.InProgressAt},
		timeIn{&b.FinalizingAt},
		timeIn{&b.CompletedAt},
		timeIn{&b.FailedAt},
		timeIn{&b.ExpiredAt},
		timeIn{&b.CancellingAt},
		timeIn{&b.CancelledAt},
		timeIn{&b.PausedAt},
		&b.IndexFileID,
	}, more...)...)
	if err != nil {
		return b, err
	}
	return b, store.DecodeBatch(&b, metadata, findings)
}

// repeated is a batch that an idempotency key made.
type repeated struct {
	batch.Batch
	hash string
}

func scanRepeated(r row) (b repeated, err error) {
	b.Batch, err = scanBatchAnd(r, &b.hash)
	return b, err
}

// CreateBatch makes a batch. An idempotency key is known for as long as the
// row of its batch is there: at least an hour longer than the batch.
func (s *Store) CreateBatch(ctx context.Context, n batch.NewBatch) (b batch.Batch, created bool, err error) {
	metadata, err := store.EncodeMetadata(n.Metadata)
	if err != nil {
		return batch.Batch{}, false, fmt.Errorf("creating batch: %w", err)
	}
	err = s.write(ctx, "creating batch", func(t *tx) error {
		if n.IdempotencyKey != "" {
			old, err := one(ctx, t, selectRepeated, scanRepeated, n.Tenant, n.IdempotencyKey)
			switch {
			case err == nil && old.hash != n.RequestHash:
				return batch.ErrKeyReused
			case !errors.Is(err, batch.ErrNotFound):
				b = old.Batch
				return err
			}
		}
		var input any // NULL when the client named no file of its own
		seq, err := one(ctx, t, selectInput, value[int64], micros(t.now), n.InputFileID, n.Tenant)
		switch {
		case err == nil:
			input = seq
		case !errors.Is(err, batch.ErrNotFound):
			return err
		}
		b, err = one(ctx, t, insertBatch, scanBatch, n.ID, n.Tenant, n.Endpoint, n.InputFileID, input, n.CompletionWindow, text(metadata),
			n.Priority, microsIn(n.OutputTTL), n.IdempotencyKey, n.RequestHash, micros(t.now), micros(t.now.Add(n.Window)))
		created = err == nil
		return err
	})
	if err != nil {
		return batch.Batch{}, false, err
	}
	return b, created, nil
}

// Batch gives a batch.
func (s *Store) Batch(ctx context.Context, tenant, id string) (b batch.Batch, err error) {
	err = s.read(ctx, "reading batch", func(t *tx) error {
		b, err = one(ctx, t, selectBatch, scanBatch, id, tenant)
		return err
	})
	return b, err
}

// Batches gives a page of batches, newest first.
func (s *Store) Batches(ctx context.Context, tenant string, q batch.BatchQuery) (batches []batch.Batch, more bool, err error) {
	err = s.read(ctx, "listing batches", func(t *tx) error {
		after := int64(math.MaxInt64)
		if q.After != "" {
			if after, err = t.cursor(ctx, batchCursor, q.After, tenant); err != nil {
				return err
			}
		}
		batches, err = all(ctx, t, batchesPage, scanBatch, tenant, after, limitOf(q.Limit)+1)
		return err
	})
	batches, more = cut(batches, q.Limit)
	return batches, more, err
}

// CancelBatch moves a running batch to Cancelling.
func (s *Store) CancelBatch(ctx context.Context, tenant, id string) (b batch.Batch, err error) {
	err = s.write(ctx, "cancelling batch", func(t *tx) error {
		b, err = one(ctx, t, selectBatch, scanBatch, id, tenant)
		switch {
		case err != nil || b.Status == batch.Cancelling || b.Status == batch.Cancelled:
			return err
		case b.Status.Terminal():
			return batch.ErrConflict
		}
		b, err = one(ctx, t, cancelBatch, scanBatch, micros(t.now), id)
		return err
	})
	return b, err
}

// hidden names what a batch that was just hidden refers to.
type hidden struct {
	seq   int64
	input *int64
}

func scanHidden(r row) (h hidden, err error) {
	err = r.Scan(&h.seq, &h.input)
	return h, err
}

// DeleteBatch hides a terminal batch and its files.
func (s *Store) DeleteBatch(ctx context.Context, tenant, id string, input bool) (b batch.Batch, err error) {
	err = s.write(ctx, "deleting batch", func(t *tx) error {
		if b, err = one(ctx, t, selectBatch, scanBatch, id, tenant); err != nil {
			return err
		}
		if !b.Status.Terminal() {
			return batch.ErrConflict
		}
		h, err := one(ctx, t, hideBatch, scanHidden, micros(t.now), id)
		if err != nil {
			return err
		}
		for _, file := range [][2]string{{b.OutputFileID, tenant}, {b.ErrorFileID, tenant}, {b.IndexFileID, batch.IndexTenant(tenant)}} {
			if file[0] == "" {
				continue
			}
			if _, err := t.exec(ctx, hideFile, micros(t.now), file[0], file[1]); err != nil {
				return err
			}
		}
		if !input || h.input == nil {
			return nil
		}
		used, err := one(ctx, t, selectOtherUser, value[bool], *h.input, h.seq)
		if err != nil || used {
			return err
		}
		_, err = t.exec(ctx, hideInput, micros(t.now), *h.input)
		return err
	})
	return b, err
}
