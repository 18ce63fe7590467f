package limits

import (
	"math"
	"time"
)

// bucket is a token bucket: full it has the whole limit, and it is refilled at that rate.
// Its level is negative after a request for more than it had, or that used more than was
// estimated.
type bucket struct {
	level float64
	limit int64     // of all gateways together, of which level is what is left
	at    time.Time // of level; zero for a new bucket, which is full
}

// change sets the limit. What was used of the one before counts: it is missing in the new
// one, too. A limit that is not known before is this one.
func (b *bucket) change(limit int64, gateways int, per time.Duration, now time.Time) {
	if before := b.limit; before != 0 && before != limit && !b.at.IsZero() {
		b.fill(float64(before)/float64(gateways), per, now)
		b.level += float64(limit-before) / float64(gateways)
	}
	b.limit = limit
}

// fill adds what has become available since the last call. capacity is added in each per.
func (b *bucket) fill(capacity float64, per time.Duration, now time.Time) {
	switch {
	case b.at.IsZero():
		b.level = capacity
	case now.After(b.at):
		b.level += capacity * (float64(now.Sub(b.at)) / float64(per))
	default:
		now = b.at
	}
	b.level, b.at = min(b.level, capacity), now
}

// wait returns how long it takes until a request for n can be admitted, 0 if it can be
// admitted now. One unit is enough for a request of any size, which takes the bucket into
// debt: a request that had to wait for its whole size would find only what smaller ones
// leave, and never enough. A bucket for less than one unit is enough when it is full.
func (b *bucket) wait(n, capacity float64, per time.Duration) time.Duration {
	missing := min(n, 1, capacity) - b.level
	if missing <= tolerance*max(1, capacity) {
		return 0
	}
	return time.Duration(math.Ceil(missing/capacity*float64(per)/float64(time.Millisecond))) * time.Millisecond
}

// tolerance is the part of a bucket by which rounding may be wrong.
const tolerance = 1e-9

// untilFull returns how long it takes until the bucket is full.
func (b *bucket) untilFull(capacity float64, per time.Duration) time.Duration {
	return max(0, time.Duration((capacity-b.level)/capacity*float64(per)))
}
