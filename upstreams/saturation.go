package upstreams

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// fullFirst is how long an upstream that answered that it is full gets no
	// batch line, unless a request on it is answered before. It doubles while
	// it goes on, up to fullMost.
	fullFirst = 100 * time.Millisecond
	fullMost  = 2 * time.Second
	// fullAsked bounds what a server may ask for with Retry-After.
	fullAsked = 30 * time.Second
	// fullRow is how often in a row an upstream may say that it is full while
	// nothing of this gateway runs there before it is suspect.
	fullRow = 5
)

// saturation is what is known of an upstream's room from its own answers.
type saturation struct {
	until atomic.Int64 // no batch line before that, as upstream.age
	row   atomic.Int32 // answers in a row that it is full
	// limit is how many batch lines fit beside its other requests, 0 for not
	// known: one less than ran when it was full, one more for every limit
	// answers since.
	limit atomic.Int32
	since atomic.Int32 // answers since limit changed
}

// saturated takes note that u answered that it is full, and asked for a pause.
// It gets no batch line until a request on it is answered or the pause is over,
// and then fewer than before.
func (p *Pool) saturated(u *upstream, asked time.Duration) {
	f := &u.full
	row := f.row.Add(1)
	pause := min(fullFirst<<min(row-1, 8), fullMost)
	pause = max(pause, min(asked, fullAsked))
	f.until.Store(u.age() + int64(pause))
	_, batch := u.counts()
	if limit := int32(max(1, batch-1)); f.limit.Load() == 0 || limit < f.limit.Load() {
		f.limit.Store(limit)
		f.since.Store(0)
	}
	time.AfterFunc(pause, p.signal)
}

// relieved takes note that a request was answered.
func (u *upstream) relieved(class Class) {
	f := &u.full
	if f.until.Load() != 0 {
		f.until.Store(0)
		f.row.Store(0)
	}
	limit := f.limit.Load()
	if limit == 0 || class != Batch || f.since.Add(1) < limit {
		return
	}
	f.since.Store(0)
	next := limit + 1
	if int(next) >= saturationForgotten {
		next = 0
	}
	f.limit.CompareAndSwap(limit, next)
}

// saturationForgotten is the limit that is none any more.
const saturationForgotten = 1024

// retryAfterOf reads a Retry-After header, in seconds or as a date
// (RFC 9110, 10.2.3).
func retryAfterOf(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if !(seconds < fullAsked.Seconds()) { // NaN as well
			return fullAsked
		}
		return max(0, time.Duration(seconds*float64(time.Second)))
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
