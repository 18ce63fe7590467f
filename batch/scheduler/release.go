package scheduler

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// releaseIdle gives slices of which nothing is under way to whoever may begin
// them, now or later: flushReleases does it.
func (r *Scheduler) releaseIdle(f *batchQueue) { r.releaseExcept(f, (*line).underWay, none) }

// none is that not one line is left to wait.
const none = -1

// releaseExcept is releaseIdle for slices without a line that is kept: those that
// were read last first, while more lines than ahead wait for their start.
func (r *Scheduler) releaseExcept(f *batchQueue, kept func(*line) bool, ahead int) {
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(f.work))) {
		if f.nPending <= ahead {
			break
		}
		if w := f.work[n]; !w.dropped && !slices.ContainsFunc(w.lines, kept) {
			r.idle = append(r.idle, batch.Release{SliceClaim: w.SliceClaim})
			r.dropWork(w)
		}
	}
	for _, s := range f.unread {
		r.idle = append(r.idle, batch.Release{SliceClaim: s.SliceClaim})
	}
	f.unread = nil
}

// releaseUnstarted is releaseIdle for a gateway that stops. Of slices of which lines are
// under way it keeps just these: others need not wait for their end.
func (r *Scheduler) releaseUnstarted(f *batchQueue) {
	r.releaseIdle(f)
	for _, w := range f.work {
		r.releasePartial(w)
	}
}

// releasePartial releases what has not begun of a slice. One of which another keeps
// lines is kept whole.
func (r *Scheduler) releasePartial(w *work) {
	release := batch.Release{SliceClaim: w.SliceClaim}
	var begun, rest []*line
	for _, l := range w.lines {
		switch {
		case l.underWay():
			begun = append(begun, l)
			release.Keep |= 1 << l.index
		case l.state != lineEnded:
			rest = append(rest, l)
		}
	}
	if w.Kept != 0 || len(rest) == 0 {
		return
	}
	r.withdraw(w, rest)
	for _, l := range rest {
		r.free(l)
	}
	w.lines, w.left, w.partial = begun, len(begun), true
	r.idle = append(r.idle, release)
}

// flushReleases releases what is idle.
func (r *Scheduler) flushReleases() {
	idle := r.idle
	if len(idle) == 0 {
		return
	}
	r.idle = nil
	// Also when the last line has ended meanwhile and all is being closed.
	r.side.Start(func(ctx context.Context) { r.release(context.WithoutCancel(ctx), idle) })
}

// release releases claims and has the others told.
func (r *Scheduler) release(ctx context.Context, held []batch.Release) {
	ctx, cancel := context.WithTimeout(ctx, commitGrace)
	defer cancel()
	if err := r.deps.Store.ReleaseSlices(ctx, held, r.deps.Config().Lease); err != nil {
		r.deps.Log.Warn("handing back slices; others wait for their lease to end", zap.Error(err))
		return
	}
	back := make(map[string][]int)
	for _, c := range held {
		back[c.BatchID] = append(back[c.BatchID], c.Number)
	}
	for _, id := range slices.Sorted(maps.Keys(back)) {
		if err := r.deps.Queue.Push(ctx, id, back[id]); err != nil {
			r.deps.Log.Warn("queueing slices that were handed back; others find them in the store", zap.Error(err))
			break
		}
	}
	r.deps.Log.Info("slices handed back", zap.Int("slices", len(held)))
}

// commitGrace is how long, after its time to drain is over, a stopping engine
// still tries to commit what finished.
const commitGrace = 5 * time.Second
