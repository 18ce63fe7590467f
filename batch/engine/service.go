package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// CreateBatch accepts a batch of the client that ctx has. It is durable when CreateBatch
// returns. Its input is validated later. It returns a *batch.QuotaError if there is no space for
// results: what is stored has reached a limit.
func (e *Engine) CreateBatch(ctx context.Context, tenant string, r batch.CreateRequest) (batch.Batch, error) {
	if err := e.checkMetadata(tenant, r.Metadata); err != nil {
		return batch.Batch{}, err
	}
	client := access.From(ctx)
	undo, refused := e.admit(ctx, tenant, r.Quota)
	if refused != nil {
		if r.IdempotencyKey != "" { // a repetition makes no batch
			if b, err := e.store.BatchOfKey(ctx, tenant, r.IdempotencyKey, r.RequestHash); !errors.Is(err, batch.ErrNotFound) {
				return b, err
			}
		}
		return batch.Batch{}, refused
	}
	id := openai.NewID("batch_")
	b, created, err := e.store.CreateBatch(ctx, batch.NewBatch{
		ID: id, Tenant: tenant, Endpoint: r.Endpoint, InputFileID: r.InputFileID,
		CompletionWindow: r.CompletionWindow, Window: r.Window, Metadata: r.Metadata, Priority: r.Priority, OutputTTL: r.OutputTTL,
		IdempotencyKey: r.IdempotencyKey, RequestHash: r.RequestHash, KeyID: client.KeyID, Models: client.Models,
	})
	if err == nil && !created || err != nil && !e.mayExist(ctx, tenant, id, err) {
		undo()
	}
	if err != nil {
		return batch.Batch{}, err
	}
	if !created {
		return e.notDeleted(ctx, b)
	}
	e.log.Info("batch created", zap.String("batch_id", b.ID), zap.String("endpoint", b.Endpoint), zap.String("input", b.InputFileID))
	e.notify()
	return b, nil
}

// lostAnswerTimeout limits the search for a batch that may have been made.
const lostAnswerTimeout = 2 * time.Second

// mayExist reports whether a batch may have been made although the store returned an error:
// its answer may have been lost, and the batch cannot be searched.
func (e *Engine) mayExist(ctx context.Context, tenant, id string, err error) bool {
	if !errors.Is(err, batch.ErrUnavailable) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lostAnswerTimeout)
	defer cancel()
	_, err = e.store.Batch(ctx, tenant, id)
	return !errors.Is(err, batch.ErrNotFound)
}

// admit counts a new batch of the client that ctx has, or returns a *batch.QuotaError or a
// *limits.ReachedError. undo takes that back, because the batch was not made.
func (e *Engine) admit(ctx context.Context, tenant string, q batch.Quota) (undo func(), err error) {
	if err := e.checkSpace(ctx, tenant, q); err != nil {
		return nil, err
	}
	return e.takeBatch(limits.Client{Key: access.From(ctx).KeyID, Tenant: tenant})
}

// checkSpace returns a *batch.QuotaError if no space is left for results. Results of batches that
// were accepted are written in any case.
func (e *Engine) checkSpace(ctx context.Context, tenant string, q batch.Quota) error {
	for _, l := range []struct {
		batch.StorageLimit
		tenant string
	}{{q.Tenant, tenant}, {q.All, batch.AllTenants}} {
		if l.Bytes == 0 && l.Files == 0 {
			continue
		}
		uses, err := e.store.Storage(ctx, l.tenant)
		if err != nil {
			return fmt.Errorf("checking space for results: %w", err)
		}
		if err := l.CheckResults(batch.StoredOf(uses), l.tenant == batch.AllTenants); err != nil {
			return err
		}
	}
	return nil
}

// takeBatch counts a batch of a client, or returns a *limits.ReachedError.
func (e *Engine) takeBatch(c limits.Client) (undo func(), err error) {
	limiter := e.dispatcher.Capabilities().Limits
	if limiter == nil {
		return func() {}, nil
	}
	undo, refused := limiter.TakeBatch(c)
	if refused != nil {
		return nil, refused
	}
	return undo, nil
}

// notDeleted returns a batch that an idempotency key made before, or an error if it has
// been deleted since: the client would wait for a batch that is not there, and a new
// batch would repeat work that a client has deleted.
func (e *Engine) notDeleted(ctx context.Context, b batch.Batch) (batch.Batch, error) {
	_, err := e.store.Batch(ctx, b.Tenant, b.ID)
	if errors.Is(err, batch.ErrNotFound) {
		return batch.Batch{}, &batch.StateError{BatchID: b.ID, Err: batch.ErrKeyOfDeleted}
	}
	return b, err
}

// CheckMetadata has check refuse metadata of new batches. It must be called before Start.
func (e *Engine) CheckMetadata(check func(tenant string, metadata map[string]string) error) {
	e.check = check
}

// checkMetadata returns a *batch.MetadataError if a new batch of a tenant cannot have metadata.
func (e *Engine) checkMetadata(tenant string, metadata map[string]string) error {
	if e.check == nil {
		return nil
	}
	return e.check(tenant, metadata)
}

// CancelBatch stops a batch. Results are kept; lines in flight are aborted.
func (e *Engine) CancelBatch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	b, err := e.store.CancelBatch(ctx, tenant, id)
	if err != nil {
		return b, err
	}
	e.log.Info("batch cancelled", zap.String("batch_id", id))
	e.scheduler.Abandon(id)
	e.notify()
	return b, nil
}

// DeleteBatch removes a batch and its results, and its input if asked and nothing
// else uses it. What runs of it is aborted.
func (e *Engine) DeleteBatch(ctx context.Context, tenant, id string, d batch.Deletion) (batch.Batch, error) {
	b, err := e.store.DeleteBatch(ctx, tenant, id, d)
	if err != nil {
		return b, err
	}
	e.log.Info("batch deleted", zap.String("batch_id", id))
	e.scheduler.Abandon(id)
	e.noteQueue(e.queue.Drop(context.WithoutCancel(ctx), id)) // no worker ends it any more
	e.notify()
	return b, nil
}

// Store returns the store that the engine uses. Its calls are timed.
func (e *Engine) Store() batch.Store { return e.store }

// Arriving returns the counts of the contents that this gateway writes and that have no row
// yet. The file services of this engine share them.
func (e *Engine) Arriving() *upload.Arriving { return &e.arriving }

// Files returns the contents that the engine uses.
func (e *Engine) Files() batch.Files { return e.files }
