package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
	"github.com/tidegate/tidegate/internal/openai"
)

// claimHolds finds the batch of a claim that still holds.
const claimHolds = `id = $1 AND attempt = $2 AND lease_until <> 0`

// claimBatch has the statements by the task that is preferred.
var claimBatch = map[batch.Task]string{
	batch.Validate: claimFirst(`status = 'validating'`, `status IN ('finalizing', 'cancelling')`),
	batch.Finalize: claimFirst(`status IN ('finalizing', 'cancelling')`, `status = 'validating'`),
}

func claimFirst(first, second string) string {
	next := func(which string) string {
		return `(SELECT seq FROM batches WHERE ` + which + ` AND lease_until <= $3 ORDER BY priority DESC, seq LIMIT 1 FOR UPDATE SKIP LOCKED)`
	}
	return declare(`UPDATE batches SET attempt = attempt + 1, owner = $1, lease_until = $2
		WHERE seq = coalesce(` + next(first) + `, ` + next(second) + `) RETURNING ` + store.BatchColumns + `, attempt`)
}

var (
	renewBatch   = declare(`UPDATE batches SET lease_until = $3 WHERE ` + claimHolds)
	releaseBatch = declare(`UPDATE batches SET owner = '', lease_until = 0 WHERE ` + claimHolds)

	startBatch = declare(`UPDATE batches SET status = 'in_progress', model = $3, total = $4, queued_tokens = $6, in_progress_at = $5, work = 1, ` + unclaim + `
		WHERE ` + claimHolds + ` AND status = 'validating' RETURNING seq`)
	queued = declare(`SELECT ` + store.QueuedSums + ` FROM batches WHERE tenant = $1 AND status = 'in_progress' AND deleted_at IS NULL AND ($2 = '' OR key_id = $2)`)
	// lockQueue serializes the starts of batches of a tenant with limits.
	lockQueue    = declare(`SELECT 1::bigint FROM pg_advisory_xact_lock(hashtextextended($1, 16))`)
	insertSlices = declare(`INSERT INTO slices (batch, number, start, length, first_line, lines)
		SELECT $1::bigint, $2::bigint + n.place - 1, n.start, n.length, n.first_line, n.lines
		FROM unnest($3::bigint[], $4::bigint[], $5::integer[], $6::integer[]) WITH ORDINALITY AS n (start, length, first_line, lines, place)`)
	failBatch = declare(`UPDATE batches SET status = 'failed', errors = $3, failed_at = $4, ` + unclaim + ` WHERE ` + claimHolds + ` AND status = 'validating'`)

	selectSlices  = declare(`SELECT ` + sliceColumns + ` FROM slices s WHERE batch = (SELECT seq FROM batches WHERE id = $1) AND number >= $2 ORDER BY number LIMIT $3`)
	selectResults = declare(`SELECT data, info FROM segments WHERE batch = (SELECT seq FROM batches WHERE id = $1) AND slice = $2 ORDER BY number`)

	finishBatch = declare(`UPDATE batches SET status = ending, output_file_id = $3, error_file_id = $4, index_file_id = $7,
			total = CASE WHEN in_progress_at IS NULL THEN $5 ELSE total END,
			completed_at = CASE WHEN ending = 'completed' THEN $6 ELSE completed_at END,
			expired_at = CASE WHEN ending = 'expired' THEN $6 ELSE expired_at END,
			cancelled_at = CASE WHEN ending = 'cancelled' THEN $6 ELSE cancelled_at END, ` + unclaim + `
		WHERE ` + claimHolds + ` AND status IN ('finalizing', 'cancelling')`)
)

// ClaimBatch claims a batch that is ready to be validated or finalized.
func (s *Store) ClaimBatch(ctx context.Context, owner string, lease time.Duration, task batch.Task) (c batch.BatchClaim, err error) {
	err = s.write(ctx, "claiming batch", func(t *tx) error {
		c, err = one(ctx, t, store.ScanBatchClaim, claimBatch[task], owner, store.LeaseEnd(t.now, lease), t.micros())
		return err
	})
	return c, err
}

// RenewBatch extends a lease.
func (s *Store) RenewBatch(ctx context.Context, c batch.BatchClaim, lease time.Duration) error {
	return s.write(ctx, "renewing batch", func(t *tx) error {
		return store.Fenced(t.exec(ctx, renewBatch, c.Batch.ID, c.Attempt, store.LeaseEnd(t.now, lease)))
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
		if err := t.checkQueue(ctx, p); err != nil {
			return err
		}
		seq, err := one(ctx, t, store.Value[int64], startBatch, c.Batch.ID, c.Attempt, p.Model, p.Lines, t.micros(), p.Tokens)
		if err != nil {
			return store.ClaimLost(err)
		}
		first := 0
		for slices := range slices.Chunk(p.Slices, planChunk) {
			t.insertSlices(seq, first, slices)
			first += len(slices)
		}
		t.putModels(seq, p.Models)
		t.later(notify)
		return nil
	})
}

// checkQueue returns a *batch.QueueFullError if a plan exceeds a limit.
func (t *tx) checkQueue(ctx context.Context, p batch.Plan) error {
	for i, limit := range p.Queue {
		if i == 0 { // all are of one tenant
			if _, err := one(ctx, t, store.Value[int64], lockQueue, limit.Tenant); err != nil {
				return err
			}
		}
		waiting, err := one(ctx, t, store.ScanQueued, queued, limit.Tenant, limit.Key)
		if err != nil {
			return err
		}
		if err := p.CheckQueue(limit, waiting); err != nil {
			return err
		}
	}
	return nil
}

// planChunk limits the slices that one statement inserts, so that the statement
// stays far below its time limit with batches of any size.
const planChunk = 10_000

func (t *tx) insertSlices(seq int64, first int, slices []batch.SlicePlan) {
	n := len(slices)
	starts, lengths, firsts, lines := make([]int64, n), make([]int64, n), make([]int32, n), make([]int32, n)
	for i, s := range slices {
		starts[i], lengths[i], firsts[i], lines[i] = s.Offset, s.Length, int32(s.FirstLine), int32(s.Lines)
	}
	t.later(insertSlices, seq, first, starts, lengths, firsts, lines)
}

// Slices lists slices by number.
func (s *Store) Slices(ctx context.Context, batchID string, first, limit int) (slices []batch.Slice, err error) {
	err = s.read(ctx, "listing slices", func(t *tx) error {
		slices, err = all(ctx, t, store.SliceIn(batchID), selectSlices, batchID, first, store.LimitOf(limit))
		return err
	})
	return slices, err
}

// Results returns the results of a slice by Index.
func (s *Store) Results(ctx context.Context, ref batch.SliceRef) (lines []batch.LineResult, err error) {
	err = s.read(ctx, "reading results", func(t *tx) error {
		segments, err := all(ctx, t, store.ScanSegment, selectResults, ref.BatchID, ref.Number)
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
		return store.Fenced(t.exec(ctx, failBatch, c.Batch.ID, c.Attempt, store.Text(errs), t.micros()))
	})
}

// FinishBatch sets a batch to its Ending. It checks the claim and locks the batch
// before it creates the files.
func (s *Store) FinishBatch(ctx context.Context, c batch.BatchClaim, o batch.Outcome) error {
	return s.write(ctx, "finishing batch", func(t *tx) error {
		var ids [3]string
		for i, f := range []*batch.NewFile{o.Output, o.Error, o.Index} {
			if f != nil {
				ids[i] = f.ID
			}
		}
		if err := store.Fenced(t.exec(ctx, finishBatch, c.Batch.ID, c.Attempt, ids[0], ids[1], o.Lines, t.micros(), ids[2])); err != nil {
			return err
		}
		// The index is first because its tenant is: rows of storage are changed in
		// the order of tenant and purpose.
		for _, f := range []*batch.NewFile{o.Index, o.Output, o.Error} {
			if f == nil {
				continue
			}
			if _, err := t.createFile(ctx, *f); err != nil {
				return err
			}
		}
		return nil
	})
}
