package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	// unclaim is part of every change of state: earlier claims become stale.
	unclaim = `attempt = attempt + 1, owner = '', lease_until = 0`
)

var (
	insertBatch = declare(`INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, metadata, priority, output_ttl,
			idempotency_key, request_hash, status, created_at, expires_at, key_id, models, webhook_url)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'validating', $12, $13, $14, $15, $16) RETURNING ` + store.BatchColumns)
	selectRepeated = declare(`SELECT ` + store.BatchColumns + `, request_hash FROM batches WHERE tenant = $1 AND idempotency_key = $2 AND idempotency_key <> ''`)
	// The cleaner skips a file that is being used as input at the same time; a file
	// that the cleaner has already listed is deleted.
	selectInput = declare(`SELECT seq FROM files WHERE id = $2 AND tenant = $3 AND ` + fileVisible + ` FOR SHARE`)
	selectBatch = declare(`SELECT ` + store.BatchColumns + ` FROM batches WHERE id = $1 AND tenant = $2 AND deleted_at IS NULL`)
	lockBatch   = declare(selectBatch + ` FOR UPDATE`)

	batchCursor      = declare(`SELECT seq FROM batches WHERE id = $1 AND tenant = $2`)
	batchesPage      = declare(`SELECT ` + store.BatchColumns + ` FROM batches WHERE tenant = $1 AND seq < $2 AND deleted_at IS NULL ORDER BY seq DESC LIMIT $3`)
	batchCursorOfAll = declare(`SELECT seq FROM batches WHERE id = $1 AND $2::text = '` + batch.AllTenants + `'`)
	batchesPageOfAll = declare(`SELECT ` + store.BatchColumns + ` FROM batches WHERE $1::text = '` + batch.AllTenants + `' AND seq > 0 AND seq < $2 AND deleted_at IS NULL ORDER BY seq DESC LIMIT $3`)

	cancelBatch = declare(`UPDATE batches SET status = 'cancelling', ending = 'cancelled', cancelling_at = $1, ` + unclaim + `
		WHERE id = $2 RETURNING ` + store.BatchColumns)
	endBatch = declare(`UPDATE batches SET status = 'cancelled', ending = 'cancelled', cancelling_at = coalesce(cancelling_at, $1), cancelled_at = $1, ` + unclaim + `
		WHERE id = $2 RETURNING ` + store.BatchColumns)
	hideBatch       = declare(`UPDATE batches SET deleted_at = $1 WHERE id = $2 RETURNING seq, input`)
	selectOtherUser = declare(`SELECT EXISTS (SELECT 1 FROM batches WHERE input = $1 AND deleted_at IS NULL AND seq <> $2)`)
	lockInput       = declare(`SELECT f.seq FROM files f JOIN batches b ON b.input = f.seq WHERE b.id = $1 FOR UPDATE OF f`)
	hideInput       = declare(`UPDATE files SET deleted_at = $1 WHERE seq = $2 AND ` + fileVisible)
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
			old, err := one(ctx, t, store.ScanKeyedBatch, selectRepeated, n.Tenant, n.IdempotencyKey)
			switch {
			case err == nil && old.RequestHash != n.RequestHash:
				return batch.ErrKeyReused
			case !errors.Is(err, batch.ErrNotFound):
				b = old.Batch
				return err
			}
		}
		var input *int64 // nil if the client has no such file
		seq, err := one(ctx, t, store.Value[int64], selectInput, t.micros(), n.InputFileID, n.Tenant)
		switch {
		case err == nil:
			input = &seq
		case !errors.Is(err, batch.ErrNotFound):
			return err
		}
		b, err = one(ctx, t, store.ScanBatch, insertBatch, n.ID, n.Tenant, n.Endpoint, n.InputFileID, input, n.CompletionWindow, store.Text(metadata),
			n.Priority, n.OutputTTL.Microseconds(), n.IdempotencyKey, n.RequestHash, t.micros(), store.Micros(t.now.Add(n.Window)), n.KeyID, models, store.WebhookURL(n.Metadata))
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.ConstraintName == "batches_idempotency" {
			return errKeyTaken // the next look finds its batch
		}
		if err != nil {
			return err
		}
		created = true
		t.later(notify)
		return nil
	})
	if broken(err) { // it is unknown whether the transaction was committed
		if made, looking := s.Batch(ctx, n.Tenant, n.ID); looking == nil {
			return made, true, nil
		}
	}
	if err != nil {
		return batch.Batch{}, false, err
	}
	return b, created, nil
}

// Batch returns a batch.
func (s *Store) Batch(ctx context.Context, tenant, id string) (b batch.Batch, err error) {
	err = s.read(ctx, "reading batch", func(t *tx) error {
		b, err = one(ctx, t, store.ScanBatch, selectBatch, id, tenant)
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
		batches, err = all(ctx, t, store.ScanBatch, page, tenant, after, store.LimitOf(q.Limit)+1)
		return err
	})
	batches, more = store.Cut(batches, q.Limit)
	return batches, more, err
}

// CancelBatch moves a running batch to Cancelling.
func (s *Store) CancelBatch(ctx context.Context, tenant, id string) (b batch.Batch, err error) {
	err = s.write(ctx, "cancelling batch", func(t *tx) error {
		b, err = one(ctx, t, store.ScanBatch, lockBatch, id, tenant)
		switch {
		case err != nil || b.Status == batch.Cancelling || b.Status == batch.Cancelled:
			return err
		case b.Status.Terminal():
			return batch.ErrConflict
		}
		b, err = one(ctx, t, store.ScanBatch, cancelBatch, t.micros(), id)
		t.later(notify)
		t.audit(ctx, batch.AuditBatchCancel, id, tenant, "")
		return err
	})
	return b, err
}

// DeleteBatch hides a batch and its files, and ends it before if it has not ended.
func (s *Store) DeleteBatch(ctx context.Context, tenant, id string, d batch.Deletion) (b batch.Batch, err error) {
	err = s.write(ctx, "deleting batch", func(t *tx) error {
		if b, err = one(ctx, t, store.ScanBatch, lockBatch, id, tenant); err != nil {
			return err
		}
		if d.EndedOnly && !b.Status.Terminal() {
			return batch.ErrConflict
		}
		// The input is locked before the counts of states, in the same order as
		// by a creation. If two batches with the same input are deleted at the
		// same time, the second deletion sees the first.
		var input int64
		if d.Input {
			if input, err = one(ctx, t, store.Value[int64], lockInput, id); errors.Is(err, batch.ErrNotFound) {
				d.Input = false
			} else if err != nil {
				return err
			}
		}
		if !b.Status.Terminal() {
			if b, err = one(ctx, t, store.ScanBatch, endBatch, t.micros(), id); err != nil {
				return err
			}
			t.later(notify)
		}
		h, err := one(ctx, t, store.ScanHiddenBatch, hideBatch, t.micros(), id)
		if err != nil {
			return err
		}
		for _, file := range [][2]string{{b.OutputFileID, tenant}, {b.ErrorFileID, tenant}, {b.IndexFileID, batch.IndexTenant(tenant)}} {
			if file[0] != "" {
				t.later(hideFile, t.micros(), file[0], file[1])
			}
		}
		detail := ""
		if d.Input {
			used, err := one(ctx, t, store.Value[bool], selectOtherUser, input, h.Row)
			if err != nil {
				return err
			}
			if !used {
				t.later(hideInput, t.micros(), input)
				detail = store.InputDetail(b)
			}
		}
		t.audit(ctx, batch.AuditBatchDelete, id, tenant, detail)
		return nil
	})
	return b, err
}
