package upstreams

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// retryLeast and retryMost limit the Retry-After of a request that was refused for
	// a full queue. OpenAI's and Anthropic's SDKs obey up to a minute, and retry after
	// half a second otherwise.
	retryLeast = time.Second
	retryMost  = time.Minute
	// durationPart is the weight of one request in the average duration.
	durationPart = 1.0 / 16
)

// average is a moving average of durations. Its zero value is 0.
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

// retryAfter estimates how long a request would wait at the end of the queue: its
// length divided by the rate of completions. The rate is estimated as the number of
// running requests divided by the average duration, which is known before the first
// request of a burst ends. A longer time without any dispatch replaces the estimate.
// queue.mu is held.
func (l *modelQueue) retryAfter(s *snapshot, now time.Time) time.Duration {
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
	each = max(each, now.Sub(l.lastDispatch))
	if each > retryMost { // prevents an overflow below
		return retryMost
	}
	return min(max(time.Duration(l.length+1)*each, retryLeast), retryMost)
}
