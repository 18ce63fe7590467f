package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
	"github.com/tidegate/tidegate/internal/openai"
)

// claimed finds the batch of a claim that still holds.
const claimed = `id = ? AND attempt = ? AND lease_until <> 0`

var (
	renewBatch   = writes(`UPDATE batches SET lease_until = ? WHERE ` + claimed)
	releaseBatch = writes(`UPDATE batches SET owner = '', lease_until = 0 WHERE ` + claimed)

	startBatch = writes(`UPDATE batches SET status = 'in_progress', model = ?, total = ?, queued_tokens = ?, in_progress_at = ?, work = 1, ` + unclaim + `
		WHERE ` + claimed + ` AND status = 'validating' RETURNING seq`)
	queued      = reads(`SELECT ` + store.QueuedSums + ` FROM batches INDEXED BY batches_status WHERE tenant = ?1 AND status = 'in_progress' AND deleted_at IS NULL AND (?2 = '' OR key_id = ?2)`)
	insertSlice = writes(`INSERT INTO slices (batch, number, offset, length, first_line, lines, lines_left) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)`)
	failBatch   = writes(`UPDATE batches SET status = 'failed', errors = ?, failed_at = ?, ` + unclaim + ` WHERE ` + claimed + ` AND status = 'validating'`)

	selectSlices  = reads(`SELECT ` + sliceColumns + ` FROM slices WHERE batch = (SELECT seq FROM batches WHERE id = ?) AND number >= ? ORDER BY number LIMIT ?`)
	selectResults = reads(`SELECT data, info FROM segments WHERE batch = (SELECT seq FROM batches WHERE id = ?) AND slice = ? ORDER BY number`)

	selectEnding = reads(`SELECT ` + store.BatchColumns + ` FROM batches WHERE ` + claimed + ` AND status IN ('finalizing', 'cancelling')`)
	finishBatch  = writes(`UPDATE batches SET status = ending, output_file_id = ?2, error_file_id = ?3, index_file_id = ?6,
			total = iif(in_progress_at IS NULL, ?4, total),
			completed_at = iif(ending = 'completed', ?5, completed_at),
			expired_at = iif(ending = 'expired', ?5, expired_at),
			cancelled_at = iif(ending = 'cancelled', ?5, cancelled_at), ` + unclaim + `
		WHERE id = ?1`)
)

// claimBatch has the statements by the task that is preferred.
var claimBatch = map[batch.Task]*statement{
	batch.Validate: claimFirst(nextValidating, nextEnding),
	batch.Finalize: claimFirst(nextEnding, nextValidating),
}

const (
	nextValidating = `(SELECT seq FROM batches INDEXED BY batches_validating
		WHERE status = 'validating' AND lease_until <= ?3 ORDER BY priority DESC, seq LIMIT 1)`
	nextEnding = `(SELECT seq FROM batches INDEXED BY batches_ending
		WHERE status IN ('finalizing', 'cancelling') AND lease_until <= ?3 ORDER BY priority DESC, seq LIMIT 1)`
)

func claimFirst(first, second string) *statement {
	return writes(`UPDATE batches SET attempt = attempt + 1, owner = ?1, lease_until = ?2
		WHERE seq = coalesce(` + first + `, ` + second + `) RETURNING ` + store.BatchColumns + `, attempt`)
}

// ClaimBatch claims a batch that is ready to be validated or finalized.
func (s *Store) ClaimBatch(ctx context.Context, owner string, lease time.Duration, task batch.Task) (c batch.BatchClaim, err error) {
	err = s.write(ctx, "claiming batch", func(t *tx) error {
		c, err = one(ctx, t, claimBatch[task], store.ScanBatchClaim, owner, store.LeaseEnd(t.now, lease), store.Micros(t.now))
		return err
	})
	return c, err
}

// RenewBatch extends a lease.
func (s *Store) RenewBatch(ctx context.Context, c batch.BatchClaim, lease time.Duration) error {
	return s.write(ctx, "renewing batch", func(t *tx) error {
		return store.Fenced(t.exec(ctx, renewBatch, store.LeaseEnd(t.now, lease), c.Batch.ID, c.Attempt))
	})
}

// ReleaseBatch releases a claim.
func (s *Store) ReleaseBatch(ctx context.Context, c batch.BatchClaim) error {
	return s.write(ctx, "releasing batch", func(t *tx) error {
		return store.Fenced(t.exec(ctx, releaseBatch, c.Batch.ID, c.Attempt))
	})
}

// StartBatch moves a batch to InProgress with the slices of a plan.
func (s *Store) StartBatch(ctx context.Context, c batch.BatchClaim, p batch.Plan) error {
	if err := store.CheckPlan(p); err != nil {
		return fmt.Errorf("starting batch: %w", err)
	}
	return s.write(ctx, "starting batch", func(t *tx) error {
		for _, limit := range p.Queue {
			waiting, err := one(ctx, t, queued, store.ScanQueued, limit.Tenant, limit.Key)
			if err != nil {
				return err
			}
			if err := p.CheckQueue(limit, waiting); err != nil {
				return err
			}
		}
		seq, err := one(ctx, t, startBatch, store.Value[int64], p.Model, p.Lines, p.Tokens, store.Micros(t.now), c.Batch.ID, c.Attempt)
		if err != nil {
			return store.ClaimLost(err)
		}
		for i, slice := range p.Slices {
			if _, err := t.exec(ctx, insertSlice, seq, i, slice.Offset, slice.Length, slice.FirstLine, slice.Lines); err != nil {
				return err
			}
		}
		return t.putModels(ctx, seq, p.Models)
	})
}

// Slices lists slices by number.
func (s *Store) Slices(ctx context.Context, batchID string, first, limit int) (slices []batch.Slice, err error) {
	err = s.read(ctx, "listing slices", func(t *tx) error {
		slices, err = all(ctx, t, selectSlices, store.SliceIn(batchID), batchID, first, store.LimitOf(limit))
		return err
	})
	return slices, err
}

// Results returns the results of a slice by Index.
func (s *Store) Results(ctx context.Context, ref batch.SliceRef) (lines []batch.LineResult, err error) {
	err = s.read(ctx, "reading results", func(t *tx) error {
		segments, err := all(ctx, t, selectResults, store.ScanSegment, ref.BatchID, ref.Number)
		if err != nil {
			return err
		}
		lines, err = store.MergeStored(segments)
		return err
	})
	return lines, err
}

// FailBatch moves a batch to Failed.
func (s *Store) FailBatch(ctx context.Context, c batch.BatchClaim, findings []openai.BatchError) error {
	errs, err := store.EncodeFindings(findings)
	if err != nil {
		return fmt.Errorf("failing batch: %w", err)
	}
	return s.write(ctx, "failing batch", func(t *tx) error {
		return store.Fenced(t.exec(ctx, failBatch, store.Text(errs), store.Micros(t.now), c.Batch.ID, c.Attempt))
	})
}

// FinishBatch moves a batch to its Ending.
func (s *Store) FinishBatch(ctx context.Context, c batch.BatchClaim, o batch.Outcome) error {
	return s.write(ctx, "finishing batch", func(t *tx) error {
		if _, err := one(ctx, t, selectEnding, store.ScanBatch, c.Batch.ID, c.Attempt); err != nil {
			return store.ClaimLost(err)
		}
		var ids [3]string
		for i, f := range []*batch.NewFile{o.Output, o.Error, o.Index} {
			if f == nil {
				continue
			}
			if _, err := t.createFile(ctx, *f); err != nil {
				return err
			}
			ids[i] = f.ID
		}
		_, err := t.exec(ctx, finishBatch, c.Batch.ID, ids[0], ids[1], o.Lines, store.Micros(t.now), ids[2])
		return err
	})
}
