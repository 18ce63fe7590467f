package upstreams

import (
	"math"
	"slices"
	"time"
)

// LimitReason says why a server has the limit that it has.
type LimitReason string

// The reasons of a limit.
const (
	LimitStart   LimitReason = "start"   // nothing is known yet
	LimitGrowing LimitReason = "growing" // more requests bring more tokens per second
	LimitWaiting LimitReason = "waiting" // the server runs no more at once: requests waited
	LimitKVCache LimitReason = "kv"      // the KV cache is nearly used up, or requests were preempted
	LimitPlateau LimitReason = "plateau" // more requests do not bring more tokens per second
	LimitCeiling LimitReason = "ceiling" // max_num_seqs as configured
)

// Text says it in words that go on from a number of requests.
func (r LimitReason) Text() string {
	switch r {
	case LimitStart:
		return "to begin with: batches have not used it up yet"
	case LimitGrowing:
		return "being looked for: more may bring more tokens per second"
	case LimitWaiting:
		return "the server runs no more at once: requests waited"
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
	// limitStart is the limit of a server of which nothing is known: few servers run
	// less at once, and their step takes little longer for it.
	limitStart = 16
	// limitStartMost is the largest max_num_seqs of which all is taken at once.
	limitStartMost = 2 * limitStart
	// limitFloor is the least limit.
	limitFloor = 2
	// limitSample is the time between two samples while batch lines run and the
	// limit is searched for, limitWatch once it is found.
	limitSample = 500 * time.Millisecond
	limitWatch  = time.Second
	// limitBinding is the part of the limit from which on it counts as used up.
	limitBinding = 0.9
	// Requests that have all just come are not what a server has to do in the long
	// run: none ends, and no prompt is read. It is measured when a part of them has
	// ended, or after a while where that takes longer.
	settledPart  = 0.25
	settledAfter = 3 * time.Second
	// Requests that came together end together: what they bring is measured until a
	// part of them has ended, or for a while where that takes longer.
	windowPart = 0.5
	windowMost = 2 * time.Second
	// waitingPart is the part of the running requests that must wait in two samples to
	// be a queue, and not requests that arrived since the server's last step.
	waitingPart = 1.0 / 8
	waitingMin  = 2
	// waitingSamples is how many samples in a row show a short queue.
	waitingSamples = 4
	// kvRoom is the part of a KV cache that may be used.
	kvRoom = 0.85
	// preemptRoom is the part of a limit that is left when requests were preempted.
	preemptRoom = 0.85
	// How long a limit is kept before it is tried to grow again.
	plateauHold = 30 * time.Second
	waitingHold = 5 * time.Minute
	kvHold      = time.Minute
)

// loadSample is what a server says of itself and what is sent to it, at one time.
type loadSample struct {
	at       time.Time
	told     bool    // the server told what follows
	running  float64 // requests
	waiting  float64 // requests
	kvCache  float64 // part that is used
	preempts float64 // a counter
	counted  bool    // prompt and generated are known
	prompt   float64 // tokens, a counter
	made     float64 // generated tokens, a counter
	step     float64 // seconds between two tokens of a request; 0: not known
	gaps     float64 // between tokens of all requests, a counter
	gapTime  float64 // seconds that these took, a counter

	inFlight int   // requests of both classes, of all gateways
	batch    int   // of these, batch lines of this gateway
	done     int64 // answers to batch lines of this gateway, a counter
	ceiling  int   // max_num_seqs as configured
	placed   Placement
}

// limiter finds how many requests a server should have at once, of both classes.
// vLLM queues what it cannot run, first come first served, and tells its limit
// nowhere: a batch in that queue makes every live request wait. So the limit grows
// while it is used up and growing pays, and shrinks when requests wait.
//
// It is used by one goroutine. Its zero value begins with limitStart.
type limiter struct {
	limit  int
	why    LimitReason
	until  time.Time // no growth before
	hard   int       // what the server runs at once; 0: not known
	levels levels
	queue  queueWatch

	last   loadSample // the sample before
	filled loadSample // the first one at which the limit was used up; zero: it was not yet
	window loadSample // the beginning of what is measured; zero: nothing is
	lone   float64    // seconds between two tokens when few requests run; 0: not known
}

// step takes a sample and returns the limit from now on.
func (l *limiter) step(s loadSample) int {
	if l.limit == 0 {
		l.limit, l.why = startOf(s.ceiling), LimitStart
	}
	if l.replaced(s) { // what is in flight came by the old limit
		*l = limiter{limit: startOf(s.ceiling), why: LimitStart, last: s}
		return l.limit
	}
	previous, before := l.last, l.limit
	l.last = s
	if s.placed != previous.placed && previous.placed != "" {
		l.plan(s.placed)
	}
	l.learnLone(previous, s)
	queued := l.queue.step(s, previous)
	if l.hard > 0 && s.told && queued == 0 && int(s.running) > l.hard { // it runs more by now
		l.hard, l.until = 0, s.at
	}
	switch {
	case queued > 0:
		l.hard = queued
		l.shrink(queued, LimitWaiting, s.at.Add(waitingHold))
	case s.told && previous.told && s.preempts > previous.preempts && s.batch > 0:
		l.shrink(int(preemptRoom*float64(l.limit)), LimitKVCache, s.at.Add(kvHold))
	case s.told && s.kvCache > kvRoom && s.batch > 0:
		l.shrink(int(kvRoom/s.kvCache*float64(s.inFlight)), LimitKVCache, s.at.Add(kvHold))
	case s.batch == 0 || float64(s.inFlight) < limitBinding*float64(l.limit):
		l.window = loadSample{} // what the limit brings cannot be seen
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
	case l.limit < before: // the requests that stay came long ago
		l.window = loadSample{}
	}
	return l.limit
}

// startOf is the limit of a server of which nothing but max_num_seqs is known.
func startOf(ceiling int) int {
	if ceiling <= limitStartMost {
		return ceiling
	}
	return limitStart
}

// replaced reports whether another process answers than before: its counters are
// lower.
func (l *limiter) replaced(s loadSample) bool {
	return s.counted && l.last.counted && s.prompt+s.made < l.last.prompt+l.last.made
}

// searching reports whether the limit is still being found.
func (l *limiter) searching() bool { return l.why == LimitStart || l.why == LimitGrowing }

// plan begins to search by another aim, from what is known. A limit that the server
// was found to need stays the most.
func (l *limiter) plan(of Placement) {
	l.window = loadSample{}
	next := l.limit
	switch {
	case len(l.levels) > 1:
		next, _ = l.levels.next(aims[of])
		next = max(limitFloor, next)
	case of == ForLive: // nothing is known of fewer requests
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

// shrink lowers the limit, if to is lower, and keeps it. A limit that stays is
// confirmed.
func (l *limiter) shrink(to int, why LimitReason, until time.Time) {
	l.window = loadSample{}
	if to = max(limitFloor, to); to <= l.limit {
		l.limit, l.why, l.until = to, why, until
	}
}

// measure notes the throughput since the beginning of the window, and moves the
// limit to where the next measurement is of use.
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
		return // the window goes on
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
	l.limit = max(limitFloor, next)
}

// lonePart is the weight of the newest figure without batch lines, loneGaps the least
// number of gaps that make one.
const (
	lonePart = 0.1
	loneGaps = 20
)

// learnLone takes in how quickly a request gets its tokens: without batch lines, or
// more quickly than was known.
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

// gapBetween is the mean time between two tokens of a request, in seconds; NaN when it
// is not known.
func gapBetween(from, to loadSample) float64 {
	if n := to.gaps - from.gaps; n > 0 && to.gapTime > from.gapTime {
		return (to.gapTime - from.gapTime) / n
	}
	return math.NaN()
}

// promptWeight is what a token of a prompt counts beside a generated one. It takes an
// engine about so much less time, and requests that have all just come shall not make
// a server look slow.
const promptWeight = 1.0 / 8

// throughput returns what a server delivered between two samples, n units at a
// rate per second: tokens, or lines where the server counts nothing. n is 0 while
// that is too little to tell.
func throughput(from, to loadSample) (n, rate float64) {
	span := to.at.Sub(from.at)
	switch {
	case to.counted && from.counted && span >= limitSample*9/10:
		n = to.made - from.made + promptWeight*(to.prompt-from.prompt)
	case !to.counted && to.done-from.done >= int64(max(limitStart, to.inFlight)):
		n = float64(to.done - from.done)
	}
	return max(n, 0), n / span.Seconds()
}

// queueWatch finds out that requests wait at a server.
type queueWatch struct {
	running, waiting []float64 // of the last samples
	rates            []float64 // requests per second that were answered meanwhile
}

// step takes a sample and returns how many requests the server runs at once, 0 if
// none wait, or if those that wait are on their way to the next step of the engine:
// it takes one after the other, and runs more with every step.
func (q *queueWatch) step(s, previous loadSample) int {
	if !s.told {
		*q = queueWatch{}
		return 0
	}
	running := int(s.running)
	if known := s.running + s.waiting; float64(s.inFlight) < known-max(2, known/10) {
		running = max(limitFloor, s.inFlight-int(s.waiting)) // others send requests there as well
	}
	if long(s) && previous.told && long(previous) && s.running <= previous.running {
		*q = queueWatch{}
		return running
	}
	rate := 0.0
	if span := s.at.Sub(previous.at).Seconds(); previous.told && span > 0 {
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
	// Requests that arrive wait for the step that runs: on average for half of it.
	arriving := mean(q.rates) * s.step
	full := mean(q.waiting) > 1+2*arriving && q.running[waitingSamples-1] <= q.running[0]
	// That some arrive is no explanation where few do.
	steady := arriving < 0.25 && slices.Min(q.running) == slices.Max(q.running)
	if full || steady {
		*q = queueWatch{}
		return running
	}
	return 0
}

// long reports whether more requests wait than arrive between two steps.
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
