package batch

import (
	"maps"
	"slices"
	"time"
)

// What a gateway reads ahead others cannot run. While these leave slots free it
// reads no more ahead than it needs soon, and hands back what it has beyond that:
// a batch is spread over all from its first lines to its last.

// idleTime is for how long others leave slots free before something is handed
// back. That they do at one moment is no news: what they have in flight is told
// twice a second.
const idleTime = 2 * announceInterval

// noteOthers finds out whether other gateways could run more of a feed.
func (r *runner) noteOthers(f *feed, now time.Time) {
	others, ok := r.engine.dispatcher.(LoadSharer)
	switch {
	case !ok || !others.OthersIdle(f.model()):
		f.idle = time.Time{}
	case f.idle.IsZero():
		f.idle = now
	}
}

// model is one that lines of a feed name; "" when none is known.
func (f *feed) model() string {
	for lane := range f.pending {
		return lane.model
	}
	return f.batch.Model
}

// ahead is how many lines a feed has read ahead at most: what all slots of its
// share take twice, or, while others are idle, a quarter of them.
func (f *feed) ahead(limit, sharers int) int {
	if f.idle.IsZero() {
		return max(SliceLines, 2*limit/sharers)
	}
	return max(SliceLines, limit/4/sharers)
}

// spread hands back what a feed has far beyond its ahead for others that have
// been idle for a while: what was read last, and not a slice of which a line was
// tried, as its retries are counted here.
func (r *runner) spread(f *feed, ahead int, now time.Time) {
	waiting := f.nPending
	for _, s := range f.unread {
		waiting += s.Lines
	}
	if f.idle.IsZero() || now.Sub(f.idle) < idleTime || waiting <= 2*ahead {
		return
	}
	for _, s := range f.unread {
		r.idle = append(r.idle, Release{SliceClaim: s.SliceClaim})
	}
	f.unread = nil
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(f.work))) {
		if f.nPending <= ahead {
			return
		}
		if w := f.work[n]; !w.dropped && !slices.ContainsFunc(w.lines, (*line).tried) {
			r.idle = append(r.idle, Release{SliceClaim: w.SliceClaim})
			r.dropWork(w)
		}
	}
}
