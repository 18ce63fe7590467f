package upstreams

import (
	"math"
	"slices"
	"time"
)

// LimitReason explains the concurrency limit of a server.
type LimitReason string

// The reasons of a limit.
const (
	LimitStart   LimitReason = "start"   // nothing is known yet
	LimitGrowing LimitReason = "growing" // more requests bring more tokens per second
	LimitWaiting LimitReason = "waiting" // the server has reached its own concurrency limit: requests waited
	LimitKVCache LimitReason = "kv"      // the KV cache is nearly used up, or requests were preempted
	LimitPlateau LimitReason = "plateau" // more requests do not bring more tokens per second
	LimitCeiling LimitReason = "ceiling" // max_num_seqs as configured
)

// Text returns the explanation, worded to follow a number of requests.
func (r LimitReason) Text() string {
	switch r {
	case LimitStart:
		return "the initial limit: batches have not used it up yet"
	case LimitGrowing:
		return "still growing: more may bring more tokens per second"
	case LimitWaiting:
		return "the server runs no more concurrently: requests waited in it"
	case LimitKVCache:
		return "its KV cache is nearly full, or requests were preempted"
	case LimitPlateau:
		return "more would bring hardly more tokens per second"
	case LimitCeiling:
		return "max_num_seqs"
	}
	return string(r)
}

const (
	// limitStart is the initial limit: few servers run fewer requests concurrently,
	// and it hardly slows a step down.
	limitStart = 16
	// limitStartMost is the largest max_num_seqs that is used as the initial limit as
	// a whole.
	limitStartMost = 2 * limitStart
	// limitStartQuiet is the initial limit of a quiet server that reports metrics: vLLM's
	// least default of max_num_seqs. What does not fit shows within two samples, and
	// delays no live request meanwhile.
	limitStartQuiet = 128
	// limitFloor is the minimum limit.
	limitFloor = 2
	// limitSample is the time between two samples while batch lines run or wait and the
	// limit is being searched, limitWatch after it was found.
	limitSample = 500 * time.Millisecond
	limitWatch  = time.Second
	// limitBinding is the part of the limit at which it counts as used up.
	limitBinding = 0.9
	// Requests that have all just started do not show the steady state: none ends, and
	// prompts dominate. Measuring begins when settledPart of them has ended, or after
	// settledAfter.
	settledPart  = 0.25
	settledAfter = 3 * time.Second
	// Requests that start together end together: throughput is measured until
	// windowPart of them has ended, or for windowMost.
	windowPart = 0.5
	windowMost = 2 * time.Second
	// waitingPart is the part of the running requests that must wait in two samples to
	// count as a queue, as opposed to requests that arrived since the server's last
	// step.
	waitingPart = 1.0 / 8
	waitingMin  = 2
	// waitingSamples is the number of consecutive samples that confirm a short queue.
	waitingSamples = 4
	// kvRoom is the part of a KV cache that may be used.
	kvRoom = 0.85
	// preemptRoom is the factor by which a limit is reduced after a preemption.
	preemptRoom = 0.85
	// Backoff before a limit may grow again.
	plateauHold = 30 * time.Second
	waitingHold = 5 * time.Minute
	kvHold      = time.Minute
)

// loadSample is a sample of a server's metrics and of the requests sent to it.
type loadSample struct {
	at         time.Time
	hasMetrics bool    // the server reported the metrics that follow
	running    float64 // requests
	waiting    float64 // requests
	kvCache    float64 // part in use, 0 to 1
	preempts   float64 // a counter
	hasTokens  bool    // prompt and made are known
	prompt     float64 // tokens, a counter
	made       float64 // generated tokens, a counter
	step       float64 // seconds between two tokens of a request; 0: not known
	gaps       float64 // number of intervals between tokens of all requests, a counter
	gapTime    float64 // seconds in these intervals, a counter

	inFlight int   // requests of both classes, of all gateways
	lines    int   // of these, batch requests of all gateways
	batch    int   // of these, batch requests of this gateway
	wanted   bool  // a batch line of this gateway found the limit used up since the last sample
	done     int64 // answers to batch lines of this gateway, a counter
	ceiling  int   // max_num_seqs as configured
	placed   Placement
	quiet    bool // no live request comes: see placementQuiet
}

// limiter searches the number of requests of both classes that a server should run
// concurrently. vLLM queues further requests, first come, first served, and does not
// report its limit: batch lines in that queue would delay every live request. So the
// limit grows while it is used up and growing pays, and shrinks when requests wait.
//
// It is used by one goroutine. Its zero value begins with limitStart.
type limiter struct {
	limit  int
	why    LimitReason
	until  time.Time // no growth before
	hard   int       // measured concurrency of the server; 0: not known
	levels levels
	queue  queueWatch

	last   loadSample // the previous sample
	filled loadSample // the first sample with the limit used up; zero: not yet
	window loadSample // the begin of the current measurement; zero: none
	lone   float64    // seconds between two tokens when few requests run; 0: not known
	queued bool       // the last sample shows that the server is full
	woken  bool       // a live request has come to a quiet server since the sample before, and lines wait there
	stale  time.Time  // until then metrics may show requests that were withdrawn
}

// observe records a sample and returns the new limit.
func (l *limiter) observe(s loadSample) int {
	if s.quiet {
		s.placed = ForBatch
	}
	if l.limit == 0 {
		l.limit, l.why = startOf(s), LimitStart
	}
	if l.replaced(s) { // the requests in flight were admitted by the old limit
		*l = limiter{limit: startOf(s), why: LimitStart, last: s}
		return l.limit
	}
	previous, before := l.last, l.limit
	l.last = s
	if previous.placed != "" && (s.placed != previous.placed || s.quiet != previous.quiet) {
		l.plan(s)
	}
	l.learnLone(previous, s)
	queued := 0
	if s.at.Before(l.stale) {
		l.queue = queueWatch{}
	} else {
		queued = l.queue.observe(s, previous)
	}
	l.queued = queued > 0
	l.woken = previous.quiet && !s.quiet && s.hasMetrics && s.waiting >= waitingMin
	if l.hard > 0 && s.hasMetrics && queued == 0 && int(s.running) > l.hard { // the server runs more by now
		l.hard, l.until = 0, s.at
	}
	switch {
	case queued > 0:
		l.full(queued, s.at)
	case s.hasMetrics && previous.hasMetrics && s.preempts > previous.preempts && s.batch > 0:
		l.shrink(int(preemptRoom*float64(l.limit)), LimitKVCache, s.at.Add(kvHold))
	case s.hasMetrics && s.kvCache > kvRoom && s.batch > 0:
		l.shrink(int(kvRoom/s.kvCache*float64(s.inFlight)), LimitKVCache, s.at.Add(kvHold))
	case l.unused(s):
		l.window = loadSample{} // throughput at the limit cannot be measured
	case l.leaps(s):
		l.limit, l.why = levelFast*l.limit, LimitGrowing
	case l.window.at.IsZero():
		l.window = s
	default:
		l.measure(s)
	}
	if l.limit >= s.ceiling {
		l.limit, l.why = s.ceiling, LimitCeiling
	}
	switch {
	case l.limit > before:
		l.filled = loadSample{}
	case l.limit < before: // the remaining requests were sent long ago
		l.window = loadSample{}
	}
	return l.limit
}

// unused reports whether batch lines do not use up the limit. If live requests are most of what
// runs, their number varies: then it is sufficient that a line found the limit used up since
// the sample before, so that the search continues and finds room for lines beside them.
func (l *limiter) unused(s loadSample) bool {
	if s.wanted && 2*(s.inFlight-s.lines) >= l.limit {
		return false
	}
	return s.batch == 0 || float64(s.inFlight) < limitBinding*float64(l.limit)
}

// startOf returns the initial limit.
func startOf(s loadSample) int {
	switch {
	case s.ceiling <= limitStartMost:
		return s.ceiling
	case s.quiet && s.hasMetrics:
		return min(s.ceiling, limitStartQuiet)
	}
	return limitStart
}

// leaps reports whether the limit is doubled without a measurement: no live request can
// be delayed, and the metrics of the server show that there is room.
func (l *limiter) leaps(s loadSample) bool {
	return s.quiet && s.hasMetrics && l.searching() && s.waiting < waitingMin && levelFast*s.kvCache <= kvRoom
}

// replaced reports whether the server process was restarted: its counters decreased.
func (l *limiter) replaced(s loadSample) bool {
	return s.hasTokens && l.last.hasTokens && s.prompt+s.made < l.last.prompt+l.last.made
}

// searching reports whether the limit is still being searched.
func (l *limiter) searching() bool { return l.why == LimitStart || l.why == LimitGrowing }

// plan restarts the search with the aim of a placement, from the measurements so far.
// A limit that was set because requests waited or the KV cache was full remains the
// upper bound.
func (l *limiter) plan(s loadSample) {
	l.window = loadSample{}
	next := l.limit
	switch {
	case len(l.levels) > 1:
		next, _ = l.levels.next(aims[s.placed])
		next = max(limitFloor, next)
	case s.quiet:
		next = max(l.limit, startOf(s))
	case s.placed != ForBatch: // no measurement with fewer requests exists
		next = min(l.limit, limitStart)
	}
	if l.why == LimitWaiting || l.why == LimitKVCache {
		l.limit = min(l.limit, next)
		return
	}
	l.limit, l.until = next, time.Time{}
	if l.why != LimitStart {
		l.why = LimitGrowing
	}
}

// shrink lowers the limit to to, unless it is lower already, and keeps it until a
// time.
func (l *limiter) shrink(to int, why LimitReason, until time.Time) {
	l.window = loadSample{}
	if to = max(limitFloor, to); to <= l.limit {
		l.limit, l.why, l.until = to, why, until
	}
}

// full sets the limit to the number of requests that the server runs while others wait
// there.
func (l *limiter) full(running int, at time.Time) {
	l.hard = running
	l.shrink(running, LimitWaiting, at.Add(waitingHold))
}

// measure records the throughput since the begin of the window, and sets the limit to
// the number of requests to measure next.
func (l *limiter) measure(s loadSample) {
	w := l.window
	if l.filled.at.IsZero() {
		l.filled = w
	}
	if part := float64(s.done-l.filled.done) / float64(s.inFlight); part < settledPart && s.at.Sub(l.filled.at) < settledAfter {
		l.window = s
		return
	}
	if part := float64(s.done-w.done) / float64(s.inFlight); part < windowPart && s.at.Sub(w.at) < windowMost {
		return
	}
	n, rate := throughput(w, s)
	if n == 0 {
		return // the window continues
	}
	l.window = loadSample{}
	if low, high := min(w.inFlight, s.inFlight), max(w.inFlight, s.inFlight); float64(low) < limitBinding*float64(high) {
		l.window = s // it was still filling up
		return
	}
	requests := float64(w.inFlight+s.inFlight) / 2
	change := l.levels.add(s.at, requests, rate, gapBetween(w, s)/l.lone)
	if s.at.Before(l.until) && change == 0 {
		return
	}
	l.why, l.hard, l.until = LimitGrowing, 0, time.Time{}
	next, found := l.levels.next(aims[s.placed])
	switch {
	case change < 0: // perhaps fewer requests bring as much
		next = int(requests / levelSlow)
	case found:
		l.why, l.until = LimitPlateau, s.at.Add(plateauHold)
	}
	if s.hasMetrics && s.kvCache > 0 { // as many as the KV cache would hold
		next = min(next, max(s.inFlight, int(kvRoom/s.kvCache*float64(s.inFlight))))
	}
	l.limit = max(limitFloor, next)
}

// lonePart is the weight of the newest value without batch lines, loneGaps the
// minimum number of intervals for a value.
const (
	lonePart = 0.1
	loneGaps = 20
)

// learnLone updates lone: with a value without batch lines, or with a lower one.
func (l *limiter) learnLone(from, to loadSample) {
	gap := gapBetween(from, to)
	if to.gaps-from.gaps < loneGaps || math.IsNaN(gap) {
		return
	}
	switch {
	case l.lone == 0 || gap < l.lone:
		l.lone = gap
	case from.batch == 0 && to.batch == 0:
		l.lone += lonePart * (gap - l.lone)
	}
}

// gapBetween returns the mean time between two tokens of a request, in seconds; NaN
// if it is not known.
func gapBetween(from, to loadSample) float64 {
	if n := to.gaps - from.gaps; n > 0 && to.gapTime > from.gapTime {
		return (to.gapTime - from.gapTime) / n
	}
	return math.NaN()
}

// promptWeight is the weight of a prompt token relative to a generated one, about the
// ratio of their compute time, so that requests that have all just started do not
// make a server look slow.
const promptWeight = 1.0 / 8

// throughput returns the work that a server did between two samples: n units at a
// rate per second. Units are tokens, or lines if the server reports no tokens. n is 0
// if that is too little to measure.
func throughput(from, to loadSample) (n, rate float64) {
	span := to.at.Sub(from.at)
	switch {
	case to.hasTokens && from.hasTokens && span >= limitSample*9/10:
		n = to.made - from.made + promptWeight*(to.prompt-from.prompt)
	case !to.hasTokens && to.done-from.done >= int64(max(limitStart, to.inFlight)):
		n = float64(to.done - from.done)
	}
	return max(n, 0), n / span.Seconds()
}

// queueWatch detects that requests wait in a server.
type queueWatch struct {
	running, waiting []float64 // of the last samples
	rates            []float64 // requests per second that were answered meanwhile
}

// observe records a sample and returns how many requests the server runs
// concurrently. It returns 0 if none wait, or if the waiting requests only wait for
// the next engine step.
func (q *queueWatch) observe(s, previous loadSample) int {
	if !s.hasMetrics {
		*q = queueWatch{}
		return 0
	}
	running := int(s.running)
	if known := s.running + s.waiting; float64(s.inFlight) < known-max(2, known/10) {
		running = max(limitFloor, s.inFlight-int(s.waiting)) // other clients send requests there as well
	}
	if long(s) && previous.hasMetrics && long(previous) && s.running <= previous.running {
		*q = queueWatch{}
		return running
	}
	rate := 0.0
	if span := s.at.Sub(previous.at).Seconds(); previous.hasMetrics && span > 0 {
		rate = float64(s.done-previous.done) / span
	}
	q.running, q.waiting, q.rates = append(q.running, s.running), append(q.waiting, s.waiting), append(q.rates, rate)
	if len(q.waiting) < waitingSamples {
		return 0
	}
	q.running, q.waiting, q.rates = keep(q.running), keep(q.waiting), keep(q.rates)
	if slices.Min(q.waiting) < 1 {
		return 0
	}
	// Arriving requests wait for the end of the running step, half a step on average.
	arriving := mean(q.rates) * s.step
	full := mean(q.waiting) > 1+2*arriving && q.running[waitingSamples-1] <= q.running[0]
	// Arrivals do not explain a queue if there are few.
	steady := arriving < 0.25 && slices.Min(q.running) == slices.Max(q.running)
	if full || steady {
		*q = queueWatch{}
		return running
	}
	return 0
}

// long reports whether more requests wait than can arrive between two steps.
func long(s loadSample) bool { return s.waiting >= max(waitingMin, waitingPart*s.running) }

// keep returns the last waitingSamples values.
func keep(values []float64) []float64 {
	return values[len(values)-waitingSamples:]
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
