package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// streak counts lines of a batch that failed in a row with the same error, in
// the order in which they ended at this gateway. A gateway does not count the
// lines of the others.
type streak struct {
	failure failure
	lines   int
}

// failure is the error of a line without what differs from line to line. The
// zero value is that of a line that succeeded.
type failure struct {
	status  int // of the answer, 0 if there was none
	code    string
	message string
}

func (f failure) String() string {
	var parts []string
	if f.status != 0 {
		parts = append(parts, strconv.Itoa(f.status))
	}
	if f.code != "" {
		parts = append(parts, f.code)
	}
	said := strings.Join(parts, " ")
	if f.message != "" {
		return said + ": " + f.message
	}
	return said
}

// failureOf reads the error of a result.
func failureOf(result batch.LineResult) failure {
	if !result.Failed {
		return failure{}
	}
	head := openai.ScanResult(result.Record)
	return failure{head.Status, batch.ClipBytes(batch.ErrorCode(head), batch.MaxMessage), batch.SimilarMessage(batch.ErrorMessage(head))}
}

// stopAfter is how many lines of a batch may fail in a row with one error; 0
// for any number.
func stopAfter(b *batch.Batch, cfg *batch.Config) int {
	if n, err := batch.ParseStopAfter(b.Metadata[batch.StopAfterKey]); err == nil {
		return max(n, 0)
	}
	return max(cfg.StopAfter, 0)
}

// ended counts the result of a line, and pauses its batch when too many failed
// in a row. What the pause saves are the lines that have not begun: where none
// is left, the batch ends as it would.
func (r *Scheduler) ended(f *batchQueue, what failure) {
	b := f.batch
	if what == (failure{}) || f.paused {
		delete(r.streaks, b.ID)
		return
	}
	s := r.streaks[b.ID]
	if s == nil || s.failure != what {
		s = &streak{failure: what}
		r.streaks[b.ID] = s
	}
	s.lines++
	limit := stopAfter(&b, r.deps.Config())
	if limit == 0 || s.lines < limit || f.allRuns() {
		return
	}
	delete(r.streaks, b.ID)
	r.suspend(b) // nothing more starts while the store is told
	r.halting[b.ID] = true
	reason := fmt.Sprintf("%d lines failed in a row with the same error: %s", s.lines, s.failure)
	r.side.Start(func(ctx context.Context) { r.stopBatch(ctx, b, reason) })
}

// stopBatch pauses a batch for a reason. A store that does not answer is asked
// again by the next streak: the refresh after the failure lets the batch go on.
func (r *Scheduler) stopBatch(ctx context.Context, b batch.Batch, reason string) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	stopped, err := r.deps.Store.PauseBatch(ctx, b.Tenant, b.ID, reason)
	r.post(func() { delete(r.halting, b.ID) })
	switch {
	case err == nil:
		r.deps.Log.Warn("batch paused: lines fail in a row with the same error", zap.String("batch_id", b.ID), zap.String("reason", reason))
		r.Pause(stopped)
		r.deps.Notify()
	case errors.Is(err, batch.ErrConflict), errors.Is(err, batch.ErrNotFound): // it is over
		r.Invalidate()
	default:
		r.deps.Log.Warn("pausing a batch whose lines fail", zap.String("batch_id", b.ID), zap.Error(err))
		r.Invalidate()
	}
}
