package postgres

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	// Batches are locked before their slices, and both in one order.
	lockBatches = `SELECT b.seq FROM batches b WHERE b.id = ANY ($1::text[]) ORDER BY b.seq FOR UPDATE`

	selectCommitSlices = `SELECT b.id, s.number, s.attempt, s.lines, s.done, b.seq, b.tenant, b.endpoint, b.status, b.ending,
			b.total, b.completed, b.failed, b.input_tokens, b.cached_tokens, b.output_tokens, b.reasoning_tokens, b.total_tokens
		FROM unnest($1::text[], $2::integer[]) AS r (id, number)
		JOIN batches b ON b.id = r.id JOIN slices s ON s.batch = b.seq AND s.number = r.number
		ORDER BY s.batch, s.number`
	lockSlices = ` FOR UPDATE OF s`

	insertSegments = `INSERT INTO segments (batch, slice, number, data, info)
		SELECT * FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::bytea[], $5::bytea[])`
	updateSlices = `UPDATE slices s SET done = n.done, finished = n.finished,
			owner = CASE WHEN n.finished THEN '' ELSE s.owner END, lease_until = CASE WHEN n.finished THEN 0 ELSE s.lease_until END
		FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::boolean[]) AS n (batch, number, done, finished)
		WHERE s.batch = n.batch AND s.number = n.number`
	updateCounts = `UPDATE batches b SET completed = n.completed, failed = n.failed, input_tokens = n.input, cached_tokens = n.cached,
			output_tokens = n.output, reasoning_tokens = n.reasoning, total_tokens = n.total
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
			AS n (seq, completed, failed, input, cached, output, reasoning, total)
		WHERE b.seq = n.seq`
	finalizeCompleted = `UPDATE batches SET status = 'finalizing', ending = 'completed', finalizing_at = $1, ` + unclaim + ` WHERE seq = ANY ($2::bigint[])`
)

func scanCommitSlice(r row) (*sliceNow, error) {
	var (
		b    store.CommitBatch
		s    = sliceNow{CommitSlice: store.CommitSlice{Batch: &b}}
		done int64
	)
	err := r.Scan(&s.batchID, &s.Number, &s.Attempt, &s.Lines, &done, &b.Row, &b.Tenant, &b.Endpoint, &b.Status, &b.Ending,
		&b.Counts.Total, &b.Counts.Completed, &b.Counts.Failed,
		&b.Usage.InputTokens, &b.Usage.InputTokensDetails.CachedTokens,
		&b.Usage.OutputTokens, &b.Usage.OutputTokensDetails.ReasoningTokens, &b.Usage.TotalTokens)
	s.Done = uint64(done)
	return &s, err
}

// sliceNow is a slice as it is in the database.
type sliceNow struct {
	store.CommitSlice
	batchID string
}

// commitSlices reads slices; those of one batch share it. lock is how.
func (t *tx) commitSlices(ctx context.Context, refs []batch.SliceRef, lock string) (map[batch.SliceRef]*store.CommitSlice, error) {
	seen := make(map[batch.SliceRef]bool, len(refs))
	var ids []string
	var numbers []int32
	for _, r := range refs {
		if !seen[r] {
			seen[r] = true
			ids, numbers = append(ids, r.BatchID), append(numbers, int32(r.Number))
		}
	}
	found, err := all(ctx, t, scanCommitSlice, selectCommitSlices+lock, ids, numbers)
	if err != nil {
		return nil, err
	}
	slices := make(map[batch.SliceRef]*store.CommitSlice, len(found))
	batches := make(map[int64]*store.CommitBatch)
	for _, s := range found {
		if b := batches[s.Batch.Row]; b != nil {
			s.Batch = b
		}
		batches[s.Batch.Row] = s.Batch
		slices[batch.SliceRef{BatchID: s.batchID, Number: s.Number}] = &s.CommitSlice
	}
	return slices, nil
}

// CommitResults adds results of lines.
func (s *Store) CommitResults(ctx context.Context, group []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	var c store.Commit
	refs, ids := make([]batch.SliceRef, len(group)), make([]string, len(group))
	for i, w := range group {
		refs[i], ids[i] = w.Claim.SliceRef, w.Claim.BatchID
	}
	err := s.write(ctx, "committing results", func(t *tx) error {
		if _, err := t.exec(ctx, lockBatches, ids); err != nil {
			return err
		}
		slices, err := t.commitSlices(ctx, refs, lockSlices)
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

// commit writes what a group of results comes to.
func (t *tx) commit(ctx context.Context, c store.Commit) error {
	if err := t.commitSegments(ctx, c.Segments); err != nil {
		return err
	}
	if err := t.commitRows(ctx, c.Slices); err != nil {
		return err
	}
	if err := t.commitCounts(ctx, c.Batches); err != nil {
		return err
	}
	return t.addUsage(ctx, c.Usage)
}

func (t *tx) commitSegments(ctx context.Context, segments []store.Segment) error {
	if len(segments) == 0 {
		return nil
	}
	var (
		batches         []int64
		slices, numbers []int32
		data, info      [][]byte
	)
	for _, g := range segments {
		batches, slices = append(batches, g.Slice.Batch.Row), append(slices, int32(g.Slice.Number))
		numbers, data = append(numbers, int32(g.Number)), append(data, g.Data)
		info = append(info, g.Info)
	}
	_, err := t.exec(ctx, insertSegments, batches, slices, numbers, data, info)
	return err
}

func (t *tx) commitRows(ctx context.Context, changed []*store.CommitSlice) error {
	if len(changed) == 0 {
		return nil
	}
	var (
		batches, done []int64
		numbers       []int32
		finished      []bool
	)
	for _, s := range changed {
		batches, numbers = append(batches, s.Batch.Row), append(numbers, int32(s.Number))
		done, finished = append(done, int64(s.Done)), append(finished, s.Left() == 0)
	}
	_, err := t.exec(ctx, updateSlices, batches, numbers, done, finished)
	return err
}

func (t *tx) commitCounts(ctx context.Context, changed []*store.CommitBatch) error {
	if len(changed) == 0 {
		return nil
	}
	var columns [8][]int64
	var over []int64
	for _, b := range changed {
		for i, v := range []int64{
			b.Row, b.Counts.Completed, b.Counts.Failed,
			b.Usage.InputTokens, b.Usage.InputTokensDetails.CachedTokens,
			b.Usage.OutputTokens, b.Usage.OutputTokensDetails.ReasoningTokens, b.Usage.TotalTokens,
		} {
			columns[i] = append(columns[i], v)
		}
		if b.Status == batch.Finalizing {
			over = append(over, b.Row)
		}
	}
	args := make([]any, len(columns))
	for i := range columns {
		args[i] = columns[i]
	}
	if _, err := t.exec(ctx, updateCounts, args...); err != nil {
		return err
	}
	if err := t.addMinutes(ctx, changed); err != nil || len(over) == 0 {
		return err
	}
	_, err := t.exec(ctx, finalizeCompleted, t.micros(), over)
	return err
}
