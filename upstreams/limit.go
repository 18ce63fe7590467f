package upstreams

import (
	"sync/atomic"
	"time"
)

const (
	// limitStart is how many batch lines a server gets before its figures have
	// said that it takes more.
	limitStart = 16
	// limitProbe is the time between two looks at the figures of a server that
	// runs batch lines.
	limitProbe = time.Second
	// limitRetry is the time without waiting requests after which a size that
	// was found is tried a sixteenth larger.
	limitRetry = time.Minute
	// limitKV is the part of the KV cache above which the limit shrinks.
	limitKV = 0.9
)

// LimitReason says why a server gets the batch lines that it gets.
type LimitReason string

// The reasons of a limit.
const (
	LimitCeiling LimitReason = "ceiling" // the configuration allows no more
	LimitStart   LimitReason = "start"   // the limit still grows
	LimitWaiting LimitReason = "waiting" // requests waited at the server
	LimitKV      LimitReason = "kv"      // the KV cache was nearly full
)

// limiter finds how many batch lines a server takes without a queue. It starts
// low and doubles while no request waits at the server. Waiting requests show
// the server's size, and the limit stays an eighth below that.
type limiter struct {
	limit  int // batch lines in flight at most, of this gateway; 0 before the first sample
	size   int // requests that the server runs at once; 0 for not known
	shut   bool
	reason LimitReason
	grown  time.Time // size was found or raised
	asked  time.Time // the limit was raised
}

// limitSample is what a limiter is told at each probe.
type limitSample struct {
	now                       time.Time
	running, waiting, kvCache float64 // the server's figures
	live                      int     // requests in flight of this and other gateways
	batch                     int     // lines of this gateway in flight
	ceiling                   int     // configured for this gateway
	gateways                  int     // that share the server
	wanted                    bool    // the limit refused a line since the last sample
}

// observe sets the limit by a sample.
func (l *limiter) observe(s limitSample) {
	if l.limit == 0 {
		l.limit, l.reason = max(1, limitStart/s.gateways), LimitStart
	}
	l.shut = false
	switch {
	case s.waiting > 0:
		l.shut = true
		l.size, l.grown, l.reason = max(1, int(s.running)), s.now, LimitWaiting
		l.limit = min(l.limit, l.room(s))
	case s.kvCache > limitKV && s.batch > 0:
		l.reason, l.asked = LimitKV, s.now
		l.limit = max(1, min(l.limit, s.batch*7/8))
	default:
		l.grow(s)
	}
	if l.limit >= s.ceiling {
		l.limit, l.reason = s.ceiling, LimitCeiling
	}
}

// room is what a server of a known size leaves to the batch lines of this
// gateway.
func (l *limiter) room(s limitSample) int {
	return max(1, (l.size-(l.size+7)/8-s.live)/s.gateways)
}

func (l *limiter) grow(s limitSample) {
	if l.size == 0 {
		if s.wanted && s.now.Sub(l.asked) >= limitProbe/2 {
			l.limit, l.asked = 2*l.limit, s.now
		}
		return
	}
	if s.wanted && s.now.Sub(l.grown) >= limitRetry {
		l.size, l.grown = l.size+max(1, l.size/16), s.now
	}
	l.limit = l.room(s)
}

// guard is a limiter's result as requests read it.
type guard struct {
	limit  atomic.Int32 // batch lines in flight at most; 0 for no limit, below 0 for no new line
	wanted atomic.Bool  // a line was refused since the last sample
}

// admits reports whether one more batch line may come beside others.
func (g *guard) admits(batch int) bool {
	limit := g.limit.Load()
	if limit == 0 || batch < int(limit) {
		return true
	}
	g.wanted.Store(true)
	return false
}

// findLimit sets u's limit by the figures of a probe. A server without figures
// has the configured limit alone.
func (p *Pool) findLimit(u *upstream, g gauges) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !g.told {
		u.limiter = limiter{}
		u.guard.limit.Store(0)
		return
	}
	live, batch := u.counts()
	otherLive, _ := split(u.others.Load())
	u.limiter.observe(limitSample{
		now: time.Now(), running: g.running, waiting: g.waiting, kvCache: g.kvCache,
		live: live + otherLive, batch: batch, gateways: 1 + p.peers,
		ceiling: batchLimit(p.cfg.BatchShare, u.maxSeqs, p.peers), wanted: u.guard.wanted.Swap(false),
	})
	limit := int32(u.limiter.limit)
	if u.limiter.shut {
		limit = -limit
	}
	if before := u.guard.limit.Swap(limit); limit > before {
		p.signal()
	}
}

// probeAfter is the time to the next probe of a server that is up.
func (u *upstream) probeAfter(interval time.Duration) time.Duration {
	if _, batch := u.counts(); batch > 0 && u.guard.limit.Load() != 0 || u.guard.limit.Load() < 0 {
		return min(interval, limitProbe)
	}
	return interval
}
