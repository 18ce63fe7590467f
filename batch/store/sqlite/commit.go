package sqlite

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	selectCommitSlice = reads(`SELECT ` + store.CommitColumns + ` FROM batches b JOIN slices s ON s.batch = b.seq WHERE b.id = ? AND s.number = ?`)
	insertSegment     = writes(`INSERT INTO segments (batch, slice, number, data, info) VALUES (?, ?, ?, ?, ?)`)
	updateSlice       = writes(`UPDATE slices SET done = ?1, lines_left = ?2, owner = iif(?2 = 0, '', owner), lease_until = iif(?2 = 0, 0, lease_until)
		WHERE batch = ?3 AND number = ?4`)
	updateCounts = writes(`UPDATE batches SET completed = ?, failed = ?,
			input_tokens = ?, cached_tokens = ?, output_tokens = ?, reasoning_tokens = ?, total_tokens = ?, cost = ?, unpriced = ? WHERE seq = ?`)
	finalizeCompleted = writes(`UPDATE batches SET status = 'finalizing', ending = 'completed', finalizing_at = ?, ` + unclaim + ` WHERE seq = ?`)
)

func (t *tx) commitSlice(ctx context.Context, ref batch.SliceRef) (*store.CommitSlice, error) {
	return one(ctx, t, selectCommitSlice, store.ScanCommitSlice, ref.BatchID, ref.Number)
}

// CommitResults adds results of lines.
func (s *Store) CommitResults(ctx context.Context, group []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	var c store.Commit
	err := s.write(ctx, "committing results", func(t *tx) error {
		slices, err := t.commitSlices(ctx, group)
		if err != nil {
			return err
		}
		if c, err = store.PlanCommit(group, slices); err != nil {
			return err
		}
		return t.commit(ctx, c)
	})
	if err != nil {
		return nil, err
	}
	return c.Stale, nil
}

// commitSlices reads the slices that a group names.
func (t *tx) commitSlices(ctx context.Context, group []batch.SegmentWrite) (map[batch.SliceRef]*store.CommitSlice, error) {
	var found []*store.CommitSlice
	for _, ref := range store.Named(group) {
		s, err := t.commitSlice(ctx, ref)
		if errors.Is(err, batch.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	return store.ByRef(found), nil
}

// commit writes the effect of a group of results.
func (t *tx) commit(ctx context.Context, c store.Commit) error {
	for _, g := range c.Segments {
		if _, err := t.exec(ctx, insertSegment, g.Slice.Batch.Row, g.Slice.Number, g.Number, g.Data, g.Info); err != nil {
			return err
		}
	}
	for _, s := range c.Slices {
		if _, err := t.exec(ctx, updateSlice, int64(s.Done), s.Left(), s.Batch.Row, s.Number); err != nil {
			return err
		}
	}
	for _, b := range c.Batches {
		if _, err := t.exec(ctx, updateCounts, b.Counts.Completed, b.Counts.Failed,
			b.Usage.InputTokens, b.Usage.InputTokensDetails.CachedTokens,
			b.Usage.OutputTokens, b.Usage.OutputTokensDetails.ReasoningTokens, b.Usage.TotalTokens, int64(b.Cost), b.Unpriced, b.Row); err != nil {
			return err
		}
		if _, err := t.exec(ctx, addMinute, b.Row, store.MinuteOf(t.now), b.Fresh.Completed, b.Fresh.Failed); err != nil {
			return err
		}
		if b.Status != batch.Finalizing {
			continue
		}
		if _, err := t.exec(ctx, finalizeCompleted, store.Micros(t.now), b.Row); err != nil {
			return err
		}
	}
	if err := t.addFlow(ctx, c); err != nil {
		return err
	}
	return t.addUsage(ctx, t.now, c.Usage)
}
