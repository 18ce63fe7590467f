package upstreams

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// retryLeast and retryMost bound what Retry-After asks of a client that was
	// refused for a full queue. OpenAI's and Anthropic's SDKs obey up to a minute
	// and come back after half a second otherwise.
	retryLeast = time.Second
	retryMost  = time.Minute
	// durationPart is the weight of one request in the average duration.
	durationPart = 1.0 / 16
)

// average is a moving average of durations. Its zero value has none.
type average struct{ seconds atomic.Uint64 } // a float64's bits

func (a *average) add(d time.Duration) {
	for {
		old := a.seconds.Load()
		next := d.Seconds()
		if old != 0 {
			next = math.Float64frombits(old) + durationPart*(next-math.Float64frombits(old))
		}
		if a.seconds.CompareAndSwap(old, math.Float64bits(next)) {
			return
		}
	}
}

func (a *average) get() time.Duration {
	return time.Duration(math.Float64frombits(a.seconds.Load()) * float64(time.Second))
}

// retryAfter estimates how long a request would wait at the end of the line: its
// length over the rate of completions. That is what runs over how long a request
// takes on average, which is known before the first one of a burst ends. A line that
// stands still for longer than that counts as slower. queue.mu is held.
func (l *line) retryAfter(s *snapshot, now time.Time) time.Duration {
	running := 0
	if at := s.models[l.model]; at != nil {
		for _, c := range at.up {
			live, batch := c.counts()
			if l.class == Batch {
				running += batch
			} else {
				running += live
			}
		}
	}
	each := l.record.duration.get() / time.Duration(max(running, 1))
	each = max(each, now.Sub(l.moving))
	if each > retryMost { // no overflow below
		return retryMost
	}
	return min(max(time.Duration(l.length+1)*each, retryLeast), retryMost)
}
