package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	// unclaim is part of every change of state: earlier claims become stale.
	unclaim = `attempt = attempt + 1, owner = '', lease_until = 0`
)

var (
	insertBatch = writes(`INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, metadata, priority, output_ttl,
			idempotency_key, request_hash, status, created_at, expires_at, key_id, models, webhook_url)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'validating', ?, ?, ?, ?, ?) RETURNING ` + store.BatchColumns)
	selectRepeated = reads(`SELECT ` + store.BatchColumns + `, request_hash FROM batches WHERE tenant = ? AND idempotency_key = ? AND idempotency_key <> ''`)
	selectInput    = reads(`SELECT seq FROM files WHERE id = ?2 AND tenant = ?3 AND ` + fileVisible)
	selectBatch    = reads(`SELECT ` + store.BatchColumns + ` FROM batches WHERE id = ? AND tenant = ? AND deleted_at IS NULL`)

	batchCursor      = reads(`SELECT seq FROM batches WHERE id = ? AND tenant = ?`)
	batchesPage      = reads(`SELECT ` + store.BatchColumns + ` FROM batches WHERE tenant = ? AND seq < ? AND deleted_at IS NULL ORDER BY seq DESC LIMIT ?`)
	batchCursorOfAll = reads(`SELECT seq FROM batches WHERE id = ? AND ? = '` + batch.AllTenants + `'`)
	batchesPageOfAll = reads(`SELECT ` + store.BatchColumns + ` FROM batches INDEXED BY batches_all_page WHERE ? = '` + batch.AllTenants + `' AND seq > 0 AND seq < ? AND deleted_at IS NULL ORDER BY seq DESC LIMIT ?`)

	cancelBatch = writes(`UPDATE batches SET status = 'cancelling', ending = 'cancelled', cancelling_at = ?, ` + unclaim + `
		WHERE id = ? RETURNING ` + store.BatchColumns)
	endBatch = writes(`UPDATE batches SET status = 'cancelled', ending = 'cancelled', cancelling_at = coalesce(cancelling_at, ?1), cancelled_at = ?1, ` + unclaim + `
		WHERE id = ?2 RETURNING ` + store.BatchColumns)
	hideBatch       = writes(`UPDATE batches SET deleted_at = ? WHERE id = ? RETURNING seq, input`)
	selectOtherUser = reads(`SELECT EXISTS (SELECT 1 FROM batches WHERE input = ? AND deleted_at IS NULL AND seq <> ?)`)
	hideInput       = writes(`UPDATE files SET deleted_at = ?1 WHERE seq = ?2 AND ` + fileVisible)
)

// CreateBatch creates a batch. An idempotency key is kept as long as the row of its
// batch: at least an hour longer than the batch.
func (s *Store) CreateBatch(ctx context.Context, n batch.NewBatch) (b batch.Batch, created bool, err error) {
	metadata, err := store.EncodeMetadata(n.Metadata)
	if err != nil {
		return batch.Batch{}, false, fmt.Errorf("creating batch: %w", err)
	}
	models, err := store.EncodeModels(n.Models)
	if err != nil {
		return batch.Batch{}, false, fmt.Errorf("creating batch: %w", err)
	}
	err = s.write(ctx, "creating batch", func(t *tx) error {
		if n.IdempotencyKey != "" {
			old, err := one(ctx, t, selectRepeated, store.ScanKeyedBatch, n.Tenant, n.IdempotencyKey)
			switch {
			case err == nil && old.RequestHash != n.RequestHash:
				return batch.ErrKeyReused
			case !errors.Is(err, batch.ErrNotFound):
				b = old.Batch
				return err
			}
		}
		var input any // NULL if the client has no such file
		seq, err := one(ctx, t, selectInput, store.Value[int64], store.Micros(t.now), n.InputFileID, n.Tenant)
		switch {
		case err == nil:
			input = seq
		case !errors.Is(err, batch.ErrNotFound):
			return err
		}
		b, err = one(ctx, t, insertBatch, store.ScanBatch, n.ID, n.Tenant, n.Endpoint, n.InputFileID, input, n.CompletionWindow, store.Text(metadata),
			n.Priority, n.OutputTTL.Microseconds(), n.IdempotencyKey, n.RequestHash, store.Micros(t.now), store.Micros(t.now.Add(n.Window)), n.KeyID, models, store.WebhookURL(n.Metadata))
		created = err == nil
		return err
	})
	if err != nil {
		return batch.Batch{}, false, err
	}
	return b, created, nil
}

// Batch returns a batch.
func (s *Store) Batch(ctx context.Context, tenant, id string) (b batch.Batch, err error) {
	err = s.read(ctx, "reading batch", func(t *tx) error {
		b, err = one(ctx, t, selectBatch, store.ScanBatch, id, tenant)
		return err
	})
	return b, err
}

// Batches returns a page of batches, newest first.
func (s *Store) Batches(ctx context.Context, tenant string, q batch.BatchQuery) (batches []batch.Batch, more bool, err error) {
	err = s.read(ctx, "listing batches", func(t *tx) error {
		after := store.NewestFirst
		page, cursor := batchesPage, batchCursor
		if tenant == batch.AllTenants {
			page, cursor = batchesPageOfAll, batchCursorOfAll
		}
		if q.After != "" {
			if after, err = t.cursor(ctx, cursor, q.After, tenant); err != nil {
				return err
			}
		}
		batches, err = all(ctx, t, page, store.ScanBatch, tenant, after, store.LimitOf(q.Limit)+1)
		return err
	})
	batches, more = store.Cut(batches, q.Limit)
	return batches, more, err
}

// CancelBatch moves a running batch to Cancelling.
func (s *Store) CancelBatch(ctx context.Context, tenant, id string) (b batch.Batch, err error) {
	err = s.write(ctx, "cancelling batch", func(t *tx) error {
		b, err = one(ctx, t, selectBatch, store.ScanBatch, id, tenant)
		switch {
		case err != nil || b.Status == batch.Cancelling || b.Status == batch.Cancelled:
			return err
		case b.Status.Terminal():
			return batch.ErrConflict
		}
		if b, err = one(ctx, t, cancelBatch, store.ScanBatch, store.Micros(t.now), id); err != nil {
			return err
		}
		return t.audit(ctx, batch.AuditBatchCancel, id, tenant, "")
	})
	return b, err
}

// DeleteBatch hides a batch and its files, and ends it before if it has not ended.
func (s *Store) DeleteBatch(ctx context.Context, tenant, id string, d batch.Deletion) (b batch.Batch, err error) {
	err = s.write(ctx, "deleting batch", func(t *tx) error {
		if b, err = one(ctx, t, selectBatch, store.ScanBatch, id, tenant); err != nil {
			return err
		}
		if !b.Status.Terminal() {
			if d.EndedOnly {
				return batch.ErrConflict
			}
			if b, err = one(ctx, t, endBatch, store.ScanBatch, store.Micros(t.now), id); err != nil {
				return err
			}
		}
		h, err := one(ctx, t, hideBatch, store.ScanHiddenBatch, store.Micros(t.now), id)
		if err != nil {
			return err
		}
		for _, file := range [][2]string{{b.OutputFileID, tenant}, {b.ErrorFileID, tenant}, {b.IndexFileID, batch.IndexTenant(tenant)}} {
			if file[0] == "" {
				continue
			}
			if _, err := t.exec(ctx, hideFile, store.Micros(t.now), file[0], file[1]); err != nil {
				return err
			}
		}
		detail := ""
		if d.Input && h.Input != nil {
			used, err := one(ctx, t, selectOtherUser, store.Value[bool], *h.Input, h.Row)
			if err != nil {
				return err
			}
			if !used {
				if _, err := t.exec(ctx, hideInput, store.Micros(t.now), *h.Input); err != nil {
					return err
				}
				detail = store.InputDetail(b)
			}
		}
		return t.audit(ctx, batch.AuditBatchDelete, id, tenant, detail)
	})
	return b, err
}
