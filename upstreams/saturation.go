package upstreams

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// fullFirst is the backoff for batch lines after an upstream answered that it is
	// full, unless a request on it is answered earlier. It doubles with each
	// repetition, up to fullMost.
	fullFirst = 100 * time.Millisecond
	fullMost  = 2 * time.Second
	// fullAsked limits the Retry-After that a server may request.
	fullAsked = 30 * time.Second
	// fullRow is the number of consecutive such answers, without any other request of
	// this gateway in flight there, that make an upstream suspect.
	fullRow = 5
)

// saturation tracks an upstream's free capacity as indicated by its answers.
type saturation struct {
	until     atomic.Int64 // no batch line before, as upstream.age
	fullInRow atomic.Int32 // consecutive answers that it is full
	// limit is the number of batch lines that fit in addition to other requests, 0 if not
	// known: one less than were running when the server was full, plus one for every
	// limit answers since.
	limit atomic.Int32
	since atomic.Int32 // answers since limit changed
}

// saturated records that u answered that it is full, with its Retry-After. u gets no
// batch line until a request on it is answered or the backoff has elapsed, and then
// fewer lines than before.
func (p *Pool) saturated(u *upstream, asked time.Duration) {
	f := &u.saturation
	row := f.fullInRow.Add(1)
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

// relieved records that a request was answered.
func (u *upstream) relieved(class Class) {
	f := &u.saturation
	if f.until.Load() != 0 {
		f.until.Store(0)
		f.fullInRow.Store(0)
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

// saturationForgotten is the limit at which it is removed.
const saturationForgotten = 1024

// retryAfterOf parses a Retry-After header, in seconds or as a date (RFC 9110,
// 10.2.3).
func retryAfterOf(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if !(seconds < fullAsked.Seconds()) { // includes NaN
			return fullAsked
		}
		return max(0, time.Duration(seconds*float64(time.Second)))
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
