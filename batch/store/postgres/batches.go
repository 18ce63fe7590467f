package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5/pgconn"

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
	insertBatch = `INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, metadata, priority, output_ttl,
			idempotency_key, request_hash, status, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'validating', $12, $13) RETURNING ` + batchColumns
	selectRepeated = `SELECT ` + batchColumns + `, request_hash FROM batches WHERE tenant = $1 AND idempotency_key = $2 AND idempotency_key <> ''`
	// The collector passes over a file that is just becoming an input.
	selectInput = `SELECT seq FROM files WHERE id = $2 AND tenant = $3 AND ` + fileVisible + ` FOR SHARE`
	selectBatch = `SELECT ` + batchColumns + ` FROM batches WHERE id = $1 AND tenant = $2 AND deleted_at IS NULL`
	lockBatch   = selectBatch + ` FOR UPDATE`

	batchCursor = `SELECT seq FROM batches WHERE id = $1 AND tenant = $2`
	batchesPage = `SELECT ` + batchColumns + ` FROM batches WHERE tenant = $1 AND seq < $2 AND deleted_at IS NULL ORDER BY seq DESC LIMIT $3`

	cancelBatch = `UPDATE batches SET status = 'cancelling', ending = 'cancelled', cancelling_at = $1, ` + unclaim + `
		WHERE id = $2 RETURNING ` + batchColumns
	hideBatch       = `UPDATE batches SET deleted_at = $1 WHERE id = $2 RETURNING seq, input`
	selectOtherUser = `SELECT EXISTS (SELECT 1 FROM batches WHERE input = $1 AND deleted_at IS NULL AND seq <> $2)`
	lockInput       = `SELECT seq FROM files WHERE seq = $1 FOR UPDATE`
	hideInput       = `UPDATE files SET deleted_at = $1 WHERE seq = $2 AND ` + fileVisible
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
			old, err := one(ctx, t, scanRepeated, selectRepeated, n.Tenant, n.IdempotencyKey)
			switch {
			case err == nil && old.hash != n.RequestHash:
				return batch.ErrKeyReused
			case !errors.Is(err, batch.ErrNotFound):
				b = old.Batch
				return err
			}
		}
		var input *int64 // nil when the client named no file of its own
		seq, err := one(ctx, t, value[int64], selectInput, t.micros(), n.InputFileID, n.Tenant)
		switch {
		case err == nil:
			input = &seq
		case !errors.Is(err, batch.ErrNotFound):
			return err
		}
		b, err = one(ctx, t, scanBatch, insertBatch, n.ID, n.Tenant, n.Endpoint, n.InputFileID, input, n.CompletionWindow, text(metadata),
			n.Priority, n.OutputTTL.Microseconds(), n.IdempotencyKey, n.RequestHash, t.micros(), micros(t.now.Add(n.Window)))
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.ConstraintName == "batches_idempotency" {
			return errKeyTaken // the next look finds its batch
		}
		if err != nil {
			return err
		}
		created = true
		_, err = t.exec(ctx, notify)
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
		b, err = one(ctx, t, scanBatch, selectBatch, id, tenant)
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
		batches, err = all(ctx, t, scanBatch, batchesPage, tenant, after, limitOf(q.Limit)+1)
		return err
	})
	batches, more = cut(batches, q.Limit)
	return batches, more, err
}

// CancelBatch moves a running batch to Cancelling.
func (s *Store) CancelBatch(ctx context.Context, tenant, id string) (b batch.Batch, err error) {
	err = s.write(ctx, "cancelling batch", func(t *tx) error {
		b, err = one(ctx, t, scanBatch, lockBatch, id, tenant)
		switch {
		case err != nil || b.Status == batch.Cancelling || b.Status == batch.Cancelled:
			return err
		case b.Status.Terminal():
			return batch.ErrConflict
		}
		if b, err = one(ctx, t, scanBatch, cancelBatch, t.micros(), id); err != nil {
			return err
		}
		_, err = t.exec(ctx, notify)
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
		if b, err = one(ctx, t, scanBatch, lockBatch, id, tenant); err != nil {
			return err
		}
		if !b.Status.Terminal() {
			return batch.ErrConflict
		}
		h, err := one(ctx, t, scanHidden, hideBatch, t.micros(), id)
		if err != nil {
			return err
		}
		for _, file := range [][2]string{{b.OutputFileID, tenant}, {b.ErrorFileID, tenant}, {b.IndexFileID, batch.IndexTenant(tenant)}} {
			if file[0] == "" {
				continue
			}
			if _, err := t.exec(ctx, hideFile, t.micros(), file[0], file[1]); err != nil {
				return err
			}
		}
		if !input || h.input == nil {
			return nil
		}
		// Of two batches of one input that are deleted at once, the second
		// sees that the first is gone.
		if _, err := one(ctx, t, value[int64], lockInput, *h.input); err != nil {
			if errors.Is(err, batch.ErrNotFound) {
				return nil
			}
			return err
		}
		used, err := one(ctx, t, value[bool], selectOtherUser, *h.input, h.seq)
		if err != nil || used {
			return err
		}
		_, err = t.exec(ctx, hideInput, t.micros(), *h.input)
		return err
	})
	return b, err
}
