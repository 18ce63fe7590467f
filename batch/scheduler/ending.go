package scheduler

import (
	"math"
	"time"

	"github.com/tidegate/tidegate/batch/scheduler/order"
)

// The end of a batch: an upstream that is slower than others gets no line that it would
// end after the others have ended all that is left. At the beginning of a batch every line
// fits. If no line fits, the upstream stays idle as far as this batch is concerned, for as
// long as lines of the batch end elsewhere.

const (
	// slower is the ratio of the durations of a line on two upstreams from which on one of
	// them counts as slower. With 1.25, an upstream that is 1.3 times slower is left idle too
	// early, see bench/results/README.md.
	slower = 1.5
	// idleLeast is the time without a started line of a batch after which a slower upstream
	// gets one that does not fit. For the same time an upstream leaves lines to those that
	// have read their prefixes. A fourth of it and four times as much make no difference.
	idleLeast = time.Second
)

// fit decides which lines of a lane fit an upstream.
type fit struct {
	speeds  speeds
	queue   *batchQueue
	lane    lane
	lines   *order.Queue[*line]
	now     time.Time
	refused bool         // an upstream was refused
	paces   []pacedLines // of the lines of the lane's model that run; nil before the first most
}

// pacedLines are the lines of a batch that run on an upstream, and its seconds per token.
type pacedLines struct{ perToken, lines float64 }

// fitOf returns the fit of a lane.
func (p *picker) fitOf(q *batchQueue, lane lane) *fit {
	lines := q.pending[lane]
	f := &fit{speeds: p.speeds, queue: q, lane: lane, lines: lines, now: time.Now()}
	lines.SetOutlook(order.Outlook{Slots: q.running, Outside: q.outside(p.gateways()), Running: f.runningOn})
	return f
}

// outside returns how many lines of a batch this gateway can still load, as far as known.
func (q *batchQueue) outside(gateways int) int {
	if q.exhausted && !q.loading {
		return 0
	}
	c := q.batch.Counts
	return int(max(0, c.Total-c.Completed-c.Failed-q.left)) / max(1, gateways)
}

// fits reports whether there is a line that an upstream may run.
func (f *fit) fits(upstream string) bool {
	if f.waits(upstream) {
		f.refused = true
		return false
	}
	if f.lines.Within(f.most(upstream)) {
		return true
	}
	// Others that run lines may hang.
	if patience := max(idleLeast, f.seconds(upstream, f.lines.Mean())); f.now.Sub(f.queue.startedAt) > patience {
		return true
	}
	f.refused = true
	return false
}

// waits reports whether an upstream leaves the rest of the lines to those that have read
// their prefixes. It waits no longer than idleLeast, as these may take few lines at a time.
func (f *fit) waits(upstream string) bool {
	at := seat{f.lane.model, upstream}
	if !f.lines.Waits(upstream) {
		delete(f.queue.waiting, at)
		return false
	}
	since, known := f.queue.waiting[at]
	if !known {
		if f.queue.waiting == nil {
			f.queue.waiting = make(map[seat]time.Time)
		}
		f.queue.waiting[at] = f.now
		return true
	}
	return f.now.Sub(since) <= idleLeast
}

// seconds returns how long an upstream takes for a number of tokens; 0 if not known.
func (f *fit) seconds(upstream string, tokens float64) time.Duration {
	s := f.speeds.of(seat{f.lane.model, upstream})
	if s == nil {
		return 0
	}
	return time.Duration(s.perToken() * tokens * float64(time.Second))
}

// most returns how many tokens an upstream generates while faster ones do the rest of the
// batch; math.MaxInt32 if no faster one runs a line of it.
func (f *fit) most(upstream string) int {
	own := f.speeds.of(seat{f.lane.model, upstream})
	if own == nil {
		return math.MaxInt32
	}
	rate, running := 0.0, 0.0 // tokens per second of faster ones, and their lines
	for _, other := range f.running() {
		if slower*other.perToken <= own.perToken() {
			rate += other.lines / other.perToken
			running += other.lines
		}
	}
	if rate == 0 {
		return math.MaxInt32
	}
	// The lines that run are half done on average. The other half stands for the last line,
	// which ends later than the slots would have done all of the rest.
	rest := f.lines.Rest() + f.lines.Mean()*running
	return int(min(math.MaxInt32, rest/rate/own.perToken()))
}

// server returns an upstream that gets a line.
func (f *fit) server(upstream string) order.Server {
	return order.Server{Name: upstream, Most: f.most(upstream), Unmeasured: f.speeds.of(seat{f.lane.model, upstream}) == nil}
}

// runningOn returns the expected tokens of the lines that run on an upstream, and its seconds
// per token. If that is not known it is 1 on all upstreams.
func (f *fit) runningOn(upstream string) (tokens, perToken float64) {
	at := seat{f.lane.model, upstream}
	tokens = f.queue.runningOn[at].tokens
	if s := f.speeds.of(at); s != nil {
		return tokens, s.perToken()
	}
	return tokens, f.speeds.mean(f.lane.model)
}

// running returns the lines that run. It looks up the speeds once, not again for each
// upstream that Reserve considers.
func (f *fit) running() []pacedLines {
	if f.paces == nil {
		f.paces = make([]pacedLines, 0, len(f.queue.runningOn))
		for at, running := range f.queue.runningOn {
			if s := f.speeds.of(at); at.model == f.lane.model && s != nil {
				f.paces = append(f.paces, pacedLines{s.perToken(), float64(running.lines)})
			}
		}
	}
	return f.paces
}
