package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
	"github.com/tidegate/tidegate/internal/openai"
)

const (
	claimBatch = `UPDATE batches SET attempt = attempt + 1, owner = $1, lease_until = $2
		WHERE seq = (SELECT seq FROM batches
			WHERE status IN ('validating', 'finalizing', 'cancelling') AND lease_until <= $3 ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING ` + batchColumns + `, attempt`

	// claimHolds finds the batch of a claim that still holds.
	claimHolds   = `id = $1 AND attempt = $2 AND lease_until <> 0`
	renewBatch   = `UPDATE batches SET lease_until = $3 WHERE ` + claimHolds
	releaseBatch = `UPDATE batches SET owner = '', lease_until = 0 WHERE ` + claimHolds

	startBatch = `UPDATE batches SET status = 'in_progress', model = $3, total = $4, in_progress_at = $5, work = 1, ` + unclaim + `
		WHERE ` + claimHolds + ` AND status = 'validating' RETURNING seq`
	insertSlices = `INSERT INTO slices (batch, number, start, length, first_line, lines)
		SELECT $1::bigint, n.place - 1, n.start, n.length, n.first_line, n.lines
		FROM unnest($2::bigint[], $3::bigint[], $4::integer[], $5::integer[]) WITH ORDINALITY AS n (start, length, first_line, lines, place)`
	failBatch = `UPDATE batches SET status = 'failed', errors = $3, failed_at = $4, ` + unclaim + ` WHERE ` + claimHolds + ` AND status = 'validating'`

	selectSlices  = `SELECT ` + sliceColumns + ` FROM slices s WHERE batch = (SELECT seq FROM batches WHERE id = $1) AND number >= $2 ORDER BY number LIMIT $3`
	selectResults = `SELECT data, info FROM segments WHERE batch = (SELECT seq FROM batches WHERE id = $1) AND slice = $2 ORDER BY number`

	selectEnding = `SELECT ` + batchColumns + ` FROM batches WHERE ` + claimHolds + ` AND status IN ('finalizing', 'cancelling') FOR UPDATE`
	finishBatch  = `UPDATE batches SET status = ending, output_file_id = $2, error_file_id = $3, index_file_id = $6,
			total = CASE WHEN in_progress_at IS NULL THEN $4 ELSE total END,
			completed_at = CASE WHEN ending = 'completed' THEN $5 ELSE completed_at END,
			expired_at = CASE WHEN ending = 'expired' THEN $5 ELSE expired_at END,
			cancelled_at = CASE WHEN ending = 'cancelled' THEN $5 ELSE cancelled_at END, ` + unclaim + `
		WHERE id = $1`
)

func scanSegment(r row) (s store.StoredSegment, err error) {
	err = r.Scan(&s.Data, &s.Info)
	return s, err
}

func scanClaim(r row) (c batch.BatchClaim, err error) {
	c.Batch, err = scanBatchAnd(r, &c.Attempt)
	return c, err
}

// fenced is batch.ErrStale when a claim found no row to change.
func fenced(n int, err error) error {
	if err == nil && n == 0 {
		return batch.ErrStale
	}
	return err
}

// stale is batch.ErrStale when a claim found no row.
func stale(err error) error {
	if errors.Is(err, batch.ErrNotFound) {
		return batch.ErrStale
	}
	return err
}

// ClaimBatch claims the oldest batch that wants to be validated or finalized.
func (s *Store) ClaimBatch(ctx context.Context, owner string, lease time.Duration) (c batch.BatchClaim, err error) {
	err = s.write(ctx, "claiming batch", func(t *tx) error {
		c, err = one(ctx, t, scanClaim, claimBatch, owner, leaseEnd(t.now, lease), t.micros())
		return err
	})
	return c, err
}

// RenewBatch extends a lease.
func (s *Store) RenewBatch(ctx context.Context, c batch.BatchClaim, lease time.Duration) error {
	return s.write(ctx, "renewing batch", func(t *tx) error {
		return fenced(t.exec(ctx, renewBatch, c.Batch.ID, c.Attempt, leaseEnd(t.now, lease)))
	})
}

// ReleaseBatch gives a claim back.
func (s *Store) ReleaseBatch(ctx context.Context, c batch.BatchClaim) error {
	return s.write(ctx, "releasing batch", func(t *tx) error {
		return fenced(t.exec(ctx, releaseBatch, c.Batch.ID, c.Attempt))
	})
}

// StartBatch moves a batch to InProgress with the slices of a plan.
func (s *Store) StartBatch(ctx context.Context, c batch.BatchClaim, p batch.Plan) error {
	if err := store.CheckPlan(p); err != nil {
		return fmt.Errorf("starting batch: %w", err)
	}
	return s.write(ctx, "starting batch", func(t *tx) error {
		seq, err := one(ctx, t, value[int64], startBatch, c.Batch.ID, c.Attempt, p.Model, p.Lines, t.micros())
		if err != nil {
			return stale(err)
		}
		var starts, lengths []int64
		var firsts, lines []int32
		for _, slice := range p.Slices {
			starts, lengths = append(starts, slice.Offset), append(lengths, slice.Length)
			firsts, lines = append(firsts, int32(slice.FirstLine)), append(lines, int32(slice.Lines))
		}
		if _, err := t.exec(ctx, insertSlices, seq, starts, lengths, firsts, lines); err != nil {
			return err
		}
		_, err = t.exec(ctx, notify)
		return err
	})
}

// Slices lists slices by number.
func (s *Store) Slices(ctx context.Context, batchID string, first, limit int) (slices []batch.Slice, err error) {
	err = s.read(ctx, "listing slices", func(t *tx) error {
		slices, err = all(ctx, t, sliceOf(batchID), selectSlices, batchID, first, limitOf(limit))
		return err
	})
	return slices, err
}

// Results gives the results of a slice by Index.
func (s *Store) Results(ctx context.Context, ref batch.SliceRef) (lines []batch.LineResult, err error) {
	err = s.read(ctx, "reading results", func(t *tx) error {
		segments, err := all(ctx, t, scanSegment, selectResults, ref.BatchID, ref.Number)
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
		return fenced(t.exec(ctx, failBatch, c.Batch.ID, c.Attempt, text(errs), t.micros()))
	})
}

// FinishBatch moves a batch to its Ending.
func (s *Store) FinishBatch(ctx context.Context, c batch.BatchClaim, o batch.Outcome) error {
	return s.write(ctx, "finishing batch", func(t *tx) error {
		if _, err := one(ctx, t, scanBatch, selectEnding, c.Batch.ID, c.Attempt); err != nil {
			return stale(err)
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
		_, err := t.exec(ctx, finishBatch, c.Batch.ID, ids[0], ids[1], o.Lines, t.micros(), ids[2])
		return err
	})
}
