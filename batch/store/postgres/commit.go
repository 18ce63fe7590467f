package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// A group commit is two round trips: the first begins, locks and reads the rows of
// the group, the second writes and commits. Meanwhile the rows of the batches are
// locked, which serializes the commits, the cancellation and the expiry of a
// batch. The rows of usage, which all batches share, are locked last.
var (
	// Batches are locked before their slices, and both in one order.
	lockBatches = declare(`SELECT b.seq FROM batches b WHERE b.id = ANY ($1::text[]) ORDER BY b.seq FOR UPDATE`)

	readSlices = declare(`SELECT ` + store.CommitColumns + `
		FROM unnest($1::text[], $2::integer[]) AS r (id, number)
		JOIN batches b ON b.id = r.id JOIN slices s ON s.batch = b.seq AND s.number = r.number
		ORDER BY s.batch, s.number`)
	lockSlices = declare(readSlices + ` FOR UPDATE OF s`)

	insertSegments = declare(`INSERT INTO segments (batch, slice, number, data, info)
		SELECT * FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::bytea[], $5::bytea[])`)
	updateSlices = declare(`UPDATE slices s SET done = n.done, finished = n.finished,
			owner = CASE WHEN n.finished THEN '' ELSE s.owner END, lease_until = CASE WHEN n.finished THEN 0 ELSE s.lease_until END
		FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::boolean[]) AS n (batch, number, done, finished)
		WHERE s.batch = n.batch AND s.number = n.number`)
	updateCounts = declare(`UPDATE batches b SET completed = n.completed, failed = n.failed, input_tokens = n.input, cached_tokens = n.cached,
			output_tokens = n.output, reasoning_tokens = n.reasoning, total_tokens = n.total, cost = n.cost, unpriced = n.unpriced
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
			AS n (seq, completed, failed, input, cached, output, reasoning, total, cost, unpriced)
		WHERE b.seq = n.seq`)
	// Transactions that change several batches lock the counters of their states
	// first, in the order of tenants and states. The trigger updates counters in the
	// order in which batches are found, so two transactions with batches of the same
	// tenants could deadlock.
	lockStates = declare(`SELECT 1 FROM batch_states
		WHERE tenant IN (SELECT tenant FROM batches WHERE seq = ANY ($1::bigint[])) AND status IN ('in_progress', 'finalizing')
		ORDER BY tenant, status DESC FOR UPDATE`)
	finalizeCompleted = declare(`UPDATE batches SET status = 'finalizing', ending = 'completed', finalizing_at = $1, ` + unclaim + ` WHERE seq = ANY ($2::bigint[])`)
)

// CommitResults adds results of lines.
func (s *Store) CommitResults(ctx context.Context, group []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	var (
		found []*store.CommitSlice
		c     store.Commit
	)
	ids, numbers := names(store.Named(group))
	lock := func(b *pgx.Batch) {
		b.Queue(lockBatches, ids)
		b.Queue(lockSlices, ids, numbers).Query(func(rows pgx.Rows) (err error) {
			found, err = collect(rows, store.ScanCommitSlice)
			return err
		})
	}
	err := s.writeAfter(ctx, "committing results", lock, func(t *tx) (err error) {
		if c, err = store.PlanCommit(group, store.ByRef(found)); err == nil {
			t.commitGroup(c)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.Stale, nil
}

// commitGroup writes the effect of a group of results.
func (t *tx) commitGroup(c store.Commit) {
	if len(c.Segments) == 0 {
		return
	}
	t.commitSegments(c.Segments)
	t.commitSlices(c.Slices)
	t.commitCounts(c.Batches)
	t.addFlow(c)
	t.addUsage(c.Usage)
}

func (t *tx) commitSegments(segments []store.Segment) {
	n := len(segments)
	batches, slices, numbers := make([]int64, n), make([]int32, n), make([]int32, n)
	data, info := make([][]byte, n), make([][]byte, n)
	for i, g := range segments {
		batches[i], slices[i], numbers[i] = g.Slice.Batch.Row, int32(g.Slice.Number), int32(g.Number)
		data[i], info[i] = g.Data, g.Info
	}
	t.later(insertSegments, batches, slices, numbers, data, info)
}

func (t *tx) commitSlices(changed []*store.CommitSlice) {
	n := len(changed)
	batches, numbers, done, finished := make([]int64, n), make([]int32, n), make([]int64, n), make([]bool, n)
	for i, s := range changed {
		batches[i], numbers[i], done[i], finished[i] = s.Batch.Row, int32(s.Number), int64(s.Done), s.Left() == 0
	}
	t.later(updateSlices, batches, numbers, done, finished)
}

func (t *tx) commitCounts(changed []*store.CommitBatch) {
	var columns [10][]int64
	var over []int64
	for _, b := range changed {
		for i, v := range []int64{
			b.Row, b.Counts.Completed, b.Counts.Failed,
			b.Usage.InputTokens, b.Usage.InputTokensDetails.CachedTokens,
			b.Usage.OutputTokens, b.Usage.OutputTokensDetails.ReasoningTokens, b.Usage.TotalTokens, int64(b.Cost), b.Unpriced,
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
	t.later(updateCounts, args...)
	t.addMinutes(changed)
	if len(over) > 0 {
		t.later(lockStates, over)
		t.later(finalizeCompleted, t.micros(), over)
	}
}
