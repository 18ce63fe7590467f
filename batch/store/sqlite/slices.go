package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	// runningBatch is the row of a batch whose slices can be worked on.
	runningBatch = `(SELECT seq FROM batches WHERE id = ? AND status = 'in_progress')`
	// servedBatch selects a batch whose slices can be claimed.
	servedBatch = `(SELECT seq FROM batches WHERE id = ? AND status = 'in_progress' AND paused_at IS NULL)`

	sliceColumns = `number, attempt, offset, length, first_line, lines, done, kept`

	// namedSlice is a slice of a claim.
	namedSlice = ` WHERE batch = (SELECT seq FROM batches WHERE id = ?) AND number = ?`
)

var (
	activeBatches = reads(`SELECT ` + store.BatchColumns + ` FROM batches WHERE status = 'in_progress' ORDER BY paused_at IS NOT NULL, priority DESC, expires_at, seq LIMIT ?`)
	inputFile     = reads(`SELECT ` + store.FileColumns + ` FROM files WHERE seq = (SELECT input FROM batches WHERE id = ?)`)

	claimableSlices = reads(`SELECT number FROM slices INDEXED BY slices_unfinished
		WHERE batch = ` + servedBatch + ` AND lines_left > 0 AND lease_until <= ? ORDER BY number LIMIT ?`)
	lapsedSlices = reads(`SELECT number FROM
		(SELECT number, lease_until FROM slices INDEXED BY slices_unfinished WHERE batch = ` + servedBatch + ` AND lines_left > 0 ORDER BY number LIMIT ?)
		WHERE lease_until <> 0 AND lease_until <= ? LIMIT ?`)
	claimSlice = writes(`UPDATE slices SET attempt = attempt + 1, owner = ?, lease_until = ?, kept = iif(kept_until > ?, kept, 0)
		WHERE batch = ` + servedBatch + ` AND number = ? AND lines_left > 0 AND lease_until <= ? RETURNING ` + sliceColumns)
	renewSlice = writes(`UPDATE slices SET lease_until = ?
		WHERE batch = ` + runningBatch + ` AND number = ? AND attempt = ? AND lease_until <> 0`)
	// A slice without claimable lines has the lease of its kept lines.
	renewKept = writes(`UPDATE slices SET kept_until = ?1, lease_until = iif(owner = '' AND lease_until <> 0, ?1, lease_until)
		WHERE batch = (SELECT seq FROM batches WHERE id = ?2 AND status = 'in_progress') AND number = ?3 AND kept_attempt = ?4 AND kept <> 0`)
	releaseSlice = writes(`UPDATE slices SET owner = '', lease_until = iif(kept_until > ? AND done | kept = ~(-1 << lines), kept_until, 0)` +
		namedSlice + ` AND attempt = ? AND lease_until <> 0`)
	keepLines = writes(`UPDATE slices SET owner = '', lease_until = 0, kept = ?, kept_attempt = attempt, kept_until = ?` +
		namedSlice + ` AND attempt = ? AND lease_until <> 0 AND kept_until <= ?`)
	releaseKept = writes(`UPDATE slices SET kept = 0, kept_until = 0, lease_until = iif(owner = '', 0, lease_until)` +
		namedSlice + ` AND kept_attempt = ? AND kept <> 0`)

	endSliceLeases = writes(`UPDATE slices INDEXED BY slices_unfinished SET owner = '', lease_until = 0, kept = 0, kept_until = 0
		WHERE lines_left > 0 AND (lease_until <> 0 OR kept <> 0)`)
	endBatchLeases = writes(`UPDATE batches SET owner = '', lease_until = 0
		WHERE status IN ('validating', 'finalizing', 'cancelling') AND lease_until <> 0`)
)

// endLeases ends all leases.
func (t *tx) endLeases(ctx context.Context) error {
	if _, err := t.exec(ctx, endBatchLeases); err != nil {
		return err
	}
	if _, err := t.exec(ctx, endSliceLeases); err != nil {
		return err
	}
	_, err := t.exec(ctx, endDeliveryLeases, store.Micros(t.now))
	return err
}

// ActiveBatches lists the batches that are InProgress.
func (s *Store) ActiveBatches(ctx context.Context, limit int) (batches []batch.Batch, err error) {
	err = s.read(ctx, "listing active batches", func(t *tx) error {
		batches, err = all(ctx, t, activeBatches, store.ScanBatch, store.LimitOf(limit))
		return err
	})
	return batches, err
}

// InputFile returns the file that a batch's input named when the batch was made.
func (s *Store) InputFile(ctx context.Context, batchID string) (file batch.File, err error) {
	err = s.read(ctx, "reading input file", func(t *tx) error {
		file, err = one(ctx, t, inputFile, store.ScanFile, batchID)
		return err
	})
	return file, err
}

// ClaimableSlices lists slices that can be claimed.
func (s *Store) ClaimableSlices(ctx context.Context, batchID string, limit int) (numbers []int, err error) {
	err = s.read(ctx, "listing claimable slices", func(t *tx) error {
		numbers, err = all(ctx, t, claimableSlices, store.Value[int], batchID, store.Micros(t.now), store.LimitOf(limit))
		return err
	})
	return numbers, err
}

// LapsedSlices lists slices whose lease has ended.
func (s *Store) LapsedSlices(ctx context.Context, batchID string, limit int) (numbers []int, err error) {
	err = s.read(ctx, "listing lapsed slices", func(t *tx) error {
		numbers, err = all(ctx, t, lapsedSlices, store.Value[int], batchID, batch.LapsedDepth, store.Micros(t.now), store.LimitOf(limit))
		return err
	})
	return numbers, err
}

// ClaimSlices claims those slices of refs that can be claimed, in their order.
func (s *Store) ClaimSlices(ctx context.Context, by batch.Claimant, refs []batch.SliceRef) ([]batch.Slice, error) {
	var claimed []batch.Slice
	err := s.write(ctx, "claiming slices", func(t *tx) error {
		until, free := store.LeaseEnd(t.now, by.Lease), store.FreeUntil(t.now, by)
		for _, ref := range refs {
			slice, err := one(ctx, t, claimSlice, store.SliceIn(ref.BatchID), by.Owner, until, free, ref.BatchID, ref.Number, free)
			if errors.Is(err, batch.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			claimed = append(claimed, slice)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// RenewSlices extends leases. A claim whose slice was finished meanwhile is not
// extended, but it is not lost either.
func (s *Store) RenewSlices(ctx context.Context, claims []batch.SliceClaim, lease time.Duration) ([]batch.SliceClaim, error) {
	var lost []batch.SliceClaim
	err := s.write(ctx, "renewing slices", func(t *tx) error {
		until := store.LeaseEnd(t.now, lease)
		for _, c := range claims {
			n, err := t.exec(ctx, renewSlice, until, c.BatchID, c.Number, c.Attempt)
			if err != nil {
				return err
			}
			if n == 0 {
				n, err = t.exec(ctx, renewKept, until, c.BatchID, c.Number, c.Attempt)
			}
			if err != nil {
				return err
			}
			if n > 0 {
				continue
			}
			finished, err := t.finishedBy(ctx, c)
			if err != nil {
				return err
			}
			if !finished {
				lost = append(lost, c)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// finishedBy reports whether the slice's last line was done under the claim, and
// still counts.
func (t *tx) finishedBy(ctx context.Context, c batch.SliceClaim) (bool, error) {
	s, err := t.commitSlice(ctx, c.SliceRef)
	if errors.Is(err, batch.ErrNotFound) {
		return false, nil
	}
	return err == nil && !store.Stale(c, s) && s.Left() == 0, err
}

// ReleaseSlices releases claims.
func (s *Store) ReleaseSlices(ctx context.Context, released []batch.Release, lease time.Duration) error {
	return s.write(ctx, "releasing slices", func(t *tx) error {
		for _, r := range released {
			if err := t.release(ctx, r, lease); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *tx) release(ctx context.Context, r batch.Release, lease time.Duration) error {
	now := store.Micros(t.now)
	if r.Keep != 0 {
		_, err := t.exec(ctx, keepLines, int64(r.Keep), store.LeaseEnd(t.now, lease), r.BatchID, r.Number, r.Attempt, now)
		return err
	}
	if _, err := t.exec(ctx, releaseSlice, now, r.BatchID, r.Number, r.Attempt); err != nil {
		return err
	}
	_, err := t.exec(ctx, releaseKept, r.BatchID, r.Number, r.Attempt)
	return err
}
