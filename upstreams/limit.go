package upstreams

import "time"

// LimitReason says why a server has the limit that it has.
type LimitReason string

// The reasons of a limit.
const (
	LimitStart   LimitReason = "start"   // nothing is known yet
	LimitGrowing LimitReason = "growing" // more requests bring more tokens per second
	LimitWaiting LimitReason = "waiting" // requests waited at the server
	LimitKVCache LimitReason = "kv"      // the server preempted requests
	LimitPlateau LimitReason = "plateau" // more requests did not bring more tokens per second
	LimitCeiling LimitReason = "ceiling" // max_num_seqs as configured
)

const (
	// limitStart is the limit of a server of which nothing is known: about as many
	// requests as a small server runs at once.
	limitStart = 24
	// limitFloor is the least limit.
	limitFloor = 2
	// limitSample is the time between two samples while batch lines run.
	limitSample = time.Second
	// limitWindow is how long throughput is measured before a limit grows again.
	limitWindow = 2 * limitSample
	// limitGrowth is the factor of one growth, limitProbe that of one after the
	// limit was found.
	limitGrowth = 1.5
	limitProbe  = 1.25
	// limitPays is the part of a growth by which throughput must grow at least.
	limitPays = 0.4
	// limitBinding is the part of the limit from which on it counts as used up.
	limitBinding = 0.9
	// limitRoom is what of the requests that a server runs at once it is given once
	// requests waited at it: the rest is room for live requests.
	limitRoom = 0.85
	// waitingPart is the part of the running requests that must wait for it to be a
	// queue, and not requests that arrived since the server's last step.
	waitingPart = 1.0 / 8
	waitingMin  = 2
	// How long a limit is kept before it is tried to grow again.
	plateauHold = time.Minute
	waitingHold = 5 * time.Minute
	preemptHold = time.Minute
)

// loadSample is what a server says of itself and what is sent to it, at one time.
type loadSample struct {
	at       time.Time
	told     bool    // the server told what follows
	running  float64 // requests
	waiting  float64 // requests
	preempts float64 // a counter
	counted  bool    // tokens is known
	tokens   float64 // prompt and generated, a counter

	inFlight int // requests of both classes, of all gateways
	batch    int // of these, batch lines of this gateway
	ceiling  int // max_num_seqs as configured
}

// limiter finds how many requests a server should have at once, of both classes.
// vLLM queues what it cannot run, first come first served, and tells its limit
// nowhere: a batch in that queue makes every live request wait. So the limit grows
// while it is used up and growing pays, and shrinks when requests wait.
//
// It is used by one goroutine. Its zero value begins with limitStart.
type limiter struct {
	limit int
	why   LimitReason
	until time.Time // no growth before
	found bool      // a limit was found before: grow by limitProbe

	// The throughput at the limit before the last growth; 0 when unknown.
	before     int
	beforeRate float64

	window loadSample // the beginning of the window that is measured; zero: none
	last   loadSample
}

// step takes a sample and returns the limit from now on.
func (l *limiter) step(s loadSample) int {
	if l.limit == 0 {
		l.limit, l.why = limitStart, LimitStart
	}
	previous := l.last
	l.last = s
	switch {
	case s.told && s.waiting >= max(waitingMin, waitingPart*s.running):
		l.shrink(limitRoom*s.running, LimitWaiting, s.at.Add(waitingHold))
	case s.told && previous.told && s.preempts > previous.preempts && s.batch > 0:
		l.shrink(limitRoom*float64(l.limit), LimitKVCache, s.at.Add(preemptHold))
	case s.batch == 0 || float64(s.inFlight) < limitBinding*float64(l.limit):
		l.window = loadSample{} // what the limit would bring cannot be seen
	case s.at.Before(l.until):
	case l.window.at.IsZero():
		l.window = s
	default:
		l.measure(s)
	}
	if l.limit >= s.ceiling {
		l.limit, l.why = s.ceiling, LimitCeiling
	}
	return l.limit
}

// shrink lowers the limit, if to is lower. A limit that stays is confirmed.
func (l *limiter) shrink(to float64, why LimitReason, until time.Time) {
	l.window, l.before, l.found = loadSample{}, 0, true
	l.until = until
	if lower := max(limitFloor, int(to)); lower < l.limit {
		l.limit, l.why = lower, why
	}
}

// measure compares the throughput of the window with that at the limit before, and
// grows when the last growth paid.
func (l *limiter) measure(s loadSample) {
	span := s.at.Sub(l.window.at)
	if span < limitWindow && s.counted {
		return
	}
	rate := 0.0
	if s.counted && l.window.counted && s.tokens >= l.window.tokens {
		rate = (s.tokens - l.window.tokens) / span.Seconds()
	}
	if l.before > 0 && l.beforeRate > 0 && rate > 0 {
		growth := float64(l.limit)/float64(l.before) - 1
		if rate/l.beforeRate-1 < limitPays*growth {
			l.limit, l.why = l.before, LimitPlateau
			l.before, l.found = 0, true
			l.window, l.until = loadSample{}, s.at.Add(plateauHold)
			return
		}
	}
	factor := limitGrowth
	if l.found {
		factor = limitProbe
	}
	l.before, l.beforeRate = l.limit, rate
	l.limit = max(l.limit+1, int(factor*float64(l.limit)))
	l.why = LimitGrowing
	l.window = loadSample{}
}
