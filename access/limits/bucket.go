package limits

import (
	"math"
	"time"
)

// bucket is a token bucket: full it has the whole limit, and it is refilled at that rate.
// Its level is negative after a request that was larger than estimated, or larger than the
// bucket.
type bucket struct {
	level float64
	at    time.Time // of level; zero for a new bucket, which is full
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

// wait returns how long it takes until n can be taken, 0 if it can be taken now. A full
// bucket has enough for any request, so that none is impossible.
func (b *bucket) wait(n, capacity float64, per time.Duration) time.Duration {
	missing := min(n, capacity) - b.level
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
