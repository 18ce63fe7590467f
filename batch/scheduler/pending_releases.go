package scheduler

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

const (
	// releaseBackoffMin and releaseBackoffMax limit the pause before a release that failed is
	// repeated. It doubles with each failure.
	releaseBackoffMin, releaseBackoffMax = 100 * time.Millisecond, time.Second
	// commitGrace limits the time for which a gateway that stops tries to commit results after
	// its time to drain is over, and to release slices after that.
	commitGrace = 5 * time.Second
)

// release is a claim that this gateway gives up, or the part of it that it gives up.
type release struct {
	batch.Release
	until   time.Time // when its lease ends, which is not renewed any more
	divided *work     // the lines that are kept, whose lease is renewed; nil if there are none
	// kept reports that peers keep all lines that are left, so that none can be claimed now.
	kept bool
}

// wholeSlice returns the release of a claim with all of its lines.
func wholeSlice(c *claimed) release {
	return release{Release: batch.Release{SliceClaim: c.SliceClaim}, until: c.until}
}

// lapsed reports whether the lease of what is released has ended. Then peers can claim it anyway.
func (r *release) lapsed(now time.Time) bool {
	switch {
	case r.divided == nil:
		return !now.Before(r.until)
	case r.divided.dropped:
		return !now.Before(r.divided.until)
	}
	return false // the claim is renewed, with what is released of it
}

// pendingReleases owns the claims that are given up until the store has released them. Their
// lines are not in the batch queues any more: this gateway neither runs them nor renews their
// leases, except that of a slice of which it keeps lines. A release that failed is repeated
// until its lease ends, by one call at a time, so that two releases of a claim are not
// reordered.
type pendingReleases struct {
	waiting   []release
	sending   bool
	pause     time.Duration // before the next one; 0 if the last one did not fail
	notBefore time.Time
}

// add adds a claim. An earlier release of a part of the claim is replaced.
func (p *pendingReleases) add(r release) { p.waiting = append(p.waiting, r) }

// take removes and returns what is to be released now. It returns the number of releases that
// failed until the lease ended, too.
func (p *pendingReleases) take(now time.Time) (due []release, lapsed int) {
	if p.sending || len(p.waiting) == 0 || now.Before(p.notBefore) {
		return nil, 0
	}
	due = p.all()
	if p.pause > 0 {
		before := len(due)
		due = slices.DeleteFunc(due, func(r release) bool { return r.lapsed(now) })
		lapsed = before - len(due)
	}
	if p.sending = len(due) > 0; !p.sending {
		p.pause = 0
	}
	return due, lapsed
}

// all removes and returns all releases, one of each claim.
func (p *pendingReleases) all() []release {
	waiting := p.waiting
	p.waiting = nil
	last := make(map[batch.SliceClaim]int, len(waiting))
	for i, r := range waiting {
		last[r.SliceClaim] = i
	}
	if len(last) == len(waiting) {
		return waiting
	}
	var all []release
	for i, r := range waiting {
		if last[r.SliceClaim] == i {
			all = append(all, r)
		}
	}
	return all
}

// sent records the outcome of releases that were taken. It reports whether they are the first
// ones that failed.
func (p *pendingReleases) sent(releases []release, err error, now time.Time) (first bool) {
	p.sending = false
	if err == nil {
		p.pause, p.notBefore = 0, time.Time{}
		return false
	}
	first = p.pause == 0
	p.pause = min(max(releaseBackoffMin, 2*p.pause), releaseBackoffMax)
	p.notBefore = now.Add(p.pause)
	p.waiting = append(releases, p.waiting...)
	return first
}

// flushReleases releases what was given up since it was last called.
func (s *Scheduler) flushReleases() {
	held, lapsed := s.releases.pending.take(time.Now())
	if lapsed > 0 {
		s.deps.Log.Warn("slices were not released before their leases ended: peers can claim them now", zap.Int("slices", lapsed))
	}
	if len(held) == 0 {
		return
	}
	// Attempts may be aborted meanwhile: this is done nevertheless.
	s.side.Start(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitGrace)
		defer cancel()
		err := releaseSlices(ctx, &s.deps, held)
		s.post(func() { s.released(held, err) })
	})
}

// released handles the outcome of releases.
func (s *Scheduler) released(held []release, err error) {
	if s.releases.pending.sent(held, err, time.Now()) {
		s.deps.Log.Warn("releasing slices failed: it is repeated until their leases end", zap.Int("slices", len(held)), zap.Error(err))
	}
	if err != nil {
		s.deadlines.at(s.releases.pending.notBefore, nil)
	}
}

// releaseRest releases everything that is still claimed, when nothing runs any more.
func (s *Scheduler) releaseRest() {
	for _, c := range s.queues.claims() {
		s.releases.pending.add(release{Release: batch.Release{SliceClaim: c}})
	}
	held := s.releases.pending.all()
	if len(held) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitGrace)
	defer cancel()
	for pause := releaseBackoffMin; ; pause = min(2*pause, releaseBackoffMax) {
		err := releaseSlices(ctx, &s.deps, held)
		if err == nil {
			return
		}
		if !wait.Sleep(ctx, pause) {
			s.deps.Log.Warn("releasing slices failed: peers can claim them when their leases have ended", zap.Int("slices", len(held)), zap.Error(err))
			return
		}
	}
}

// releaseSlices releases claims in the store and puts the slices back into the queue.
func releaseSlices(ctx context.Context, deps *Dependencies, held []release) error {
	claims := make([]batch.Release, len(held))
	released := make(map[string][]int)
	for i, r := range held {
		claims[i] = r.Release
		if !r.kept {
			released[r.BatchID] = append(released[r.BatchID], r.Number)
		}
	}
	if err := deps.Store.ReleaseSlices(ctx, claims, deps.Config().Lease); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(released)) {
		if err := deps.Queue.Push(ctx, id, released[id]); err != nil {
			deps.Log.Warn("queueing released slices failed: peers find them in the store", zap.String("batch_id", id), zap.Error(err))
			break
		}
	}
	deps.Log.Info("slices released", zap.Int("slices", len(held)))
	return nil
}
