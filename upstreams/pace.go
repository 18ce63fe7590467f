package upstreams

import (
	"math"
	"sync/atomic"
	"time"
)

// Batch lines are sent to a server one prompt at a time: an engine prefills prompts
// in the same steps in which it decodes, so that several prompts at once delay every
// live stream. No batch line is sent while a live request waits for its first token,
// because their prompts would share engine steps.

const (
	// paceFill is the maximum number of prompts in a step of a server placed for batch
	// lines, if each takes as long as the decoding of the step; on others it is one.
	paceFill = 4
	// paceCrowd is the number of prefills per step above which nearly all steps
	// contain a prefill, so that the duration of a prefill cannot be derived from
	// them.
	paceCrowd = 0.7
	// paceAlike is the ratio to the average up to which the duration of steps counts
	// as unchanged.
	paceAlike = 1.15
	// paceCached is the cached part of prompts above which prompts without further
	// information differ too much from the average.
	paceCached = 0.1
	// paceFull limits the gap between lines, while no slot is free, to this part of
	// the average time between two line completions.
	paceFull = 0.8
	// A server may process prompts in parallel: then holding lines back only leaves
	// slots free. So while slots stay free, the gap shrinks by easeStep with each
	// update, until prefills take easeSlower times as long as before; then the full
	// gap is restored. While no slot is free it grows by easeBack.
	easeStep, easeBack, easeSlower = 0.5, 1.05, 1.3
	// easeAfter is the number of consecutive updates with free slots that starts this:
	// more than a server takes to fill up.
	easeAfter = 6
	// easeLeast is the minimum part of the gap that remains.
	easeLeast = 1.0 / 64
	// paceLeast is the minimum gap; shorter ones are ignored.
	paceLeast = time.Millisecond
	// holdMost limits for how long one live request holds batch lines back.
	holdMost = 10 * time.Second
	// quietAhead is the pending prefill up to which a quiet server gets lines, so that it
	// always has prompts to prefill: that of a few steps. The next live request waits
	// for it.
	quietAhead = int64(75 * time.Millisecond)
	// quietGap is the gap between two lines on a quiet server, and quietBurst the time
	// for which gaps may be saved up: the prompt of a line is pending only a little
	// after the line was admitted.
	quietGap, quietBurst = int64(250 * time.Microsecond), int64(500 * time.Microsecond)
	// peersMost limits the pending prefill accepted from other gateways.
	peersMost = 10 * time.Minute
)

// pace tracks the prompts that a server has to prefill: its prefill speed and the
// pending prompts. Prompts are counted in tokens that are not in the server's prefix
// cache, as estimated. Times are ages of the upstream in nanoseconds.
type pace struct {
	speed
	cached average32 // cached part of the prompts, by the server's counters

	gap      atomic.Int64 // nanoseconds between two batch lines
	decoding atomicFloat  // time of decoding in the steps of a prefill, relative to that of the prefill
	heldBack atomic.Bool  // a line was held back since the last update
	ease     ease         // reduces gap
	next     atomic.Int64 // when the next batch line may be sent
	live     atomic.Int64 // prompt tokens of live streams without a first byte
	stream   hold         // held by these
	plain    hold         // held by live requests without a stream that have no answer

	// The first byte is not observed for lines and for answers that are not streamed.
	// Their prompts are assumed to be prefilled in the order in which they were sent.
	unseen atomic.Int64 // when they will have been prefilled
	order  atomic.Int64 // tokens of all that were sent so far

	peers     atomic.Int64 // when the prompts of other gateways will have been prefilled
	peersLive atomic.Int64 // until when their live requests hold lines back

	sentTokens, sent [2]atomic.Int64 // prompts, by Class
	done             atomic.Int64    // batch lines that were answered

	learned paceFigures // used by the prober alone
}

// paceFigures are the counters at the last update, and averages.
type paceFigures struct {
	at           time.Time
	gauges       gauges
	tokens, sent [2]int64
	tokensOf     float64 // tokens of a batch line, an average
	done         int64
	rate         float64 // batch lines that end per second, an average
	interval     float64 // nanoseconds between two tokens of a request, an average
	prefill      float64 // nanoseconds of a prefill, an average
	promptTokens float64 // uncached tokens of a prompt, an average
}

// prefill returns how long the server takes to prefill a number of tokens, in
// nanoseconds; 0 if that is not known.
func (p *pace) prefill(tokens int64) int64 { return int64(p.estimate() * float64(tokens)) }

// learn updates the estimates from the server's metrics. gateways is the number of
// gateways that send batch lines to the server, including this one; filled reports
// whether the server is at its concurrency limit; of is the placement of the server. It
// reports whether lines were held back since the last update.
func (p *pace) learn(now time.Time, g gauges, gateways int, filled bool, of Placement) (heldBack bool) {
	l, was := &p.learned, p.learned
	l.at, l.gauges = now, g
	for class := range l.tokens {
		l.tokens[class], l.sent[class] = p.sentTokens[class].Load(), p.sent[class].Load()
	}
	if n := l.sent[Batch] - was.sent[Batch]; n > 0 {
		blend(&l.tokensOf, float64(l.tokens[Batch]-was.tokens[Batch])/float64(n))
	}
	p.learnSpeed(was)
	gap := 0.0
	if step := p.interval.Load(); step > 0 { // without decoding, prompts delay nothing
		gap = float64(p.prefill(int64(l.tokensOf)))
		decode := p.decode.Load()
		if decode == 0 {
			decode = step
		}
		// A step decodes in addition to the prefill. Short prompts share a step.
		together := 1.0
		if of == ForBatch {
			together = paceFill
		}
		gap += min(float64(decode), gap/together)
	}
	if prefill := float64(p.prefill(int64(l.tokensOf))); prefill > 0 {
		p.decoding.store(min(float64(p.decode.Load())/prefill, 1.0/paceFill))
	}
	// Prompts that wait in the server show that it does not prefill them in parallel.
	heldBack = p.heldBack.Swap(false)
	p.ease.update(g, was.gauges, heldBack && !filled && g.waiting < 1)
	gap *= float64(gateways) * p.holdFactor()
	l.done = p.done.Load()
	if ended := l.done - was.done; ended > 0 && !was.at.IsZero() {
		blend(&l.rate, float64(ended)/now.Sub(was.at).Seconds())
		if filled { // each line that ends is replaced
			gap = min(gap, paceFull*1e9/l.rate)
		}
	}
	if gap < float64(paceLeast) {
		gap = 0
	}
	p.gap.Store(int64(gap))
	return heldBack
}

// atomicFloat is a float64 that is read and written atomically. Its zero value is 0.
type atomicFloat struct{ bits atomic.Uint64 }

func (f *atomicFloat) load() float64 { return math.Float64frombits(f.bits.Load()) }

func (f *atomicFloat) store(v float64) { f.bits.Store(math.Float64bits(v)) }

// ease reduces the gap between lines on servers that prefill prompts in parallel. Only
// reduction may be read by other goroutines than the prober.
type ease struct {
	reduction                  atomicFloat // of the gap, 0 to 1
	prefillBefore, tokenBefore float64     // seconds of a prefill, and per token of it, without reduction; averages
	freeInRow                  int         // consecutive updates with free slots
}

// update processes the server's metrics of two samples. short reports whether slots
// were free although lines were held back.
func (e *ease) update(now, before gauges, short bool) {
	prefill, each := 0.0, 0.0
	if n := now.prefills - before.prefills; n > 0 && now.prefillTime > before.prefillTime {
		prefill = (now.prefillTime - before.prefillTime) / n
		if tokens := now.prompts - before.prompts; tokens > 0 {
			each = prefill * n / tokens
		}
	}
	if e.reduction.load() == 0 && prefill > 0 {
		blend(&e.prefillBefore, prefill)
		blend(&e.tokenBefore, each)
	}
	e.freeInRow++
	part := 1 - e.reduction.load()
	switch {
	case prefill > easeSlower*e.prefillBefore && each >= easeSlower*e.tokenBefore:
		part, e.freeInRow = 1, 0
	case !short:
		part, e.freeInRow = min(1, part*easeBack), 0
	case e.freeInRow >= easeAfter:
		part = max(easeLeast, part*easeStep)
	}
	e.reduction.store(1 - part)
}

// holdFactor returns the factor for gaps and holds that remains after the reduction.
func (p *pace) holdFactor() float64 { return 1 - p.ease.reduction.load() }

// learnSpeed updates the speed of prefill and decode from the server's metrics since
// the last update.
func (p *pace) learnSpeed(was paceFigures) {
	l := &p.learned
	g, before := l.gauges, was.gauges
	intervals := g.intervals - before.intervals
	if !g.present || !before.present || g.prefills < before.prefills || intervals < 0 {
		return // no metrics, or the server was restarted
	}
	cached := 0.0 // part of the prompts since the last update
	if queried := g.queried - before.queried; queried > 0 && g.hits >= before.hits {
		cached = min(1, (g.hits-before.hits)/queried)
		p.cached.add(cached)
	}
	if intervals == 0 {
		return // nothing was decoded
	}
	interval := (g.intervalTime - before.intervalTime) / intervals * 1e9
	p.addGaugeInterval(interval)
	usual := l.interval
	blend(&l.interval, interval)
	crowd := p.learnFirsts(was, interval, cached)
	steady := usual > 0 && max(usual, interval) < paceAlike*min(usual, interval)
	p.learnPrefills(was, interval, crowd, steady)
	if l.promptTokens > 0 {
		p.decode.Store(int64(max(interval/4, interval-crowd*p.estimate()*l.promptTokens)))
	}
}

// learnFirsts counts the prompts that were prefilled since the last update by their
// first tokens. It updates the mean size of a prompt and the bound of the speed, and
// returns the number of prefills in each step, at an inter-token latency in
// nanoseconds. cached is the part of these prompts that was cached.
func (p *pace) learnFirsts(was paceFigures, interval, cached float64) (crowd float64) {
	l := &p.learned
	firsts := l.gauges.firsts - was.gauges.firsts
	if firsts <= 0 {
		return 0
	}
	span := float64(l.at.Sub(was.at))
	crowd = firsts * interval / span
	usual, _ := p.cached.value()
	tokens := (l.gauges.prompt - was.gauges.prompt) * (1 - usual)
	size := l.promptTokens
	blend(&l.promptTokens, tokens/firsts)
	if p.estimate() == 0 { // the average may not be that of these prompts yet
		tokens = (l.gauges.prompt - was.gauges.prompt) * (1 - max(usual, cached))
	}
	// They took at most the whole time, and the first may have begun before. A prompt
	// that is much longer than the others began long before.
	if crowd >= paceCrowd && tokens > 0 && (size == 0 || tokens/firsts < 2*size) {
		p.atMost(tokens, span+l.prefill)
	}
	return crowd
}

// learnPrefills updates the speed from the prefill times of the requests that ended
// since the last update. The server reports a prefill when its request has ended. It is
// compared with the current steps, so these must be steady, and have few prefills.
func (p *pace) learnPrefills(was paceFigures, interval, crowd float64, steady bool) {
	g, before := p.learned.gauges, was.gauges
	n := g.prefills - before.prefills
	if n == 0 {
		return
	}
	cached, _ := p.cached.value()
	tokens := p.tokensOfEach(was, cached)
	if tokens <= 0 {
		return
	}
	prefill := (g.prefillTime - before.prefillTime) / n * 1e9 // including the decoding in the same steps
	blend(&p.learned.prefill, prefill)
	// A prefill is no shorter than a step. Without the number of computed tokens it is
	// not known how much of these prompts was cached.
	if steady && crowd < paceCrowd && prefill > interval/paceAlike && (g.computed > before.computed || cached < paceCached) {
		p.addGauges(tokens, max(0, prefill-interval)/(1-crowd), n)
	}
}

// tokensOfEach returns the average number of uncached tokens of the prompts that were
// prefilled since the last update: as counted by the server, or else as estimated for
// this gateway's own requests.
func (p *pace) tokensOfEach(was paceFigures, cached float64) float64 {
	l := &p.learned
	g, before := l.gauges, was.gauges
	n := g.prefills - before.prefills
	if computed := g.computed - before.computed; computed > 0 {
		return computed / n
	}
	if tokens := g.prompts - before.prompts; tokens > 0 {
		return max(1, tokens/n*(1-cached))
	}
	sent := float64(l.sent[Live] + l.sent[Batch] - was.sent[Live] - was.sent[Batch])
	if sent <= 0 {
		return 0
	}
	return float64(l.tokens[Live]+l.tokens[Batch]-was.tokens[Live]-was.tokens[Batch]) / sent
}

// blend updates a moving average; the first value is taken as is.
func blend(average *float64, news float64) {
	if *average == 0 {
		*average = news
		return
	}
	*average += learnNews * (news - *average)
}

// opensAt returns when the next batch line may be sent.
func (p *pace) opensAt() int64 {
	return max(p.next.Load(), p.stream.endsAt(), p.plain.endsAt(), p.peersLive.Load())
}

// opensQuietAt is opensAt on a quiet server: its steps may be full of prompts.
func (p *pace) opensQuietAt(now int64) int64 {
	open := max(p.stream.endsAt(), p.plain.endsAt(), p.peersLive.Load())
	if !p.pacesQuiet() {
		return open
	}
	pending := max(p.unseen.Load(), p.peers.Load()) - now
	return max(open, now+int64(p.holdFactor()*(1+p.decoding.load())*float64(pending))-quietAhead, p.next.Load()-quietBurst)
}

// pacesQuiet reports whether lines are held back on a quiet server. If it answers but
// does not decode, its prompts delay nothing.
func (p *pace) pacesQuiet() bool { return p.interval.Load() > 0 || p.done.Load() == 0 }

// noteWaiting raises the pending prefill to that of the requests that wait in the server.
func (p *pace) noteWaiting(now int64, waiting float64) {
	if waiting > 1 { // one waits for the running step
		raise(&p.unseen, now+int64(p.estimate()*p.learned.promptTokens*(waiting-1)))
	}
}

// admitQuiet reserves a gap. It returns false if another line was faster.
func (p *pace) admitQuiet(now int64) bool {
	next := p.next.Load()
	return next-quietBurst <= now && p.next.CompareAndSwap(next, max(next, now)+quietGap)
}

// hold holds batch lines back while requests wait, up to a time limit.
type hold struct {
	waiting atomic.Int64 // requests
	until   atomic.Int64
}

// begin adds a request. It must be ended with end.
func (h *hold) begin(until int64) {
	h.waiting.Add(1)
	raise(&h.until, until)
}

func (h *hold) end() { h.waiting.Add(-1) }

// endsAt returns when lines may be sent.
func (h *hold) endsAt() int64 {
	if h.waiting.Load() == 0 {
		return 0
	}
	return h.until.Load()
}

// admit reserves the next gap for a batch line. It returns false if another line was
// faster.
func (p *pace) admit(now int64) bool {
	gap := p.gap.Load()
	if gap == 0 {
		return true
	}
	next := p.next.Load()
	// A late line does not delay the next one.
	return next <= now && p.next.CompareAndSwap(next, max(next, now-gap)+gap)
}

// beginUnseen records a prompt that is being sent and whose first byte will not be
// observed. The returned place is passed to endUnseen.
func (p *pace) beginUnseen(now int64, class Class, tokens int64) (place int64) {
	p.sent[class].Add(1)
	p.sentTokens[class].Add(tokens)
	took := int64(p.estimateOrDefault() * float64(tokens))
	for {
		// The running step has to end first.
		old := p.unseen.Load()
		if p.unseen.CompareAndSwap(old, max(now+p.interval.Load(), old)+took) {
			return p.order.Add(tokens)
		}
	}
}

// endUnseen records that the request with a place was answered: all prompts before it
// have been prefilled, only those after it may be pending.
func (p *pace) endUnseen(now, place int64) {
	lower(&p.unseen, now+int64(p.estimateOrDefault()*float64(p.order.Load()-place)))
}

// beginAgain records that all prompts that waited in the server were withdrawn: the other
// ones have begun.
func (p *pace) beginAgain(now int64) { lower(&p.unseen, now+p.interval.Load()) }

// endBatch records that a batch line was answered.
func (p *pace) endBatch() { p.done.Add(1) }

// beginLive records a live stream whose prompt is being sent. It holds batch lines
// back until its first byte, or up to twice the expected time. It must be ended with
// endLive, once.
func (p *pace) beginLive(now, tokens int64) {
	expected := p.expected(now, tokens)
	p.sent[Live].Add(1)
	p.sentTokens[Live].Add(tokens)
	p.live.Add(tokens)
	p.stream.begin(now + p.holdTime(2*expected))
}

// endLive records that a live stream has its first byte, or has ended.
func (p *pace) endLive(tokens int64) {
	p.live.Add(-tokens)
	p.stream.end()
}

// beginPlain records a live request without a stream. It holds batch lines back until
// its answer, or until its prompt is expected to be prefilled. It must be ended with
// plain.end, once; its place is passed to endUnseen.
func (p *pace) beginPlain(now, tokens int64) (place int64) {
	p.plain.begin(now + p.holdTime(p.expected(now, tokens)))
	return p.beginUnseen(now, Live, tokens)
}

// holdTime returns for how long a live request with the expected time to first token
// holds batch lines back at most.
func (p *pace) holdTime(expected int64) int64 {
	return int64(p.holdFactor() * float64(min(expected, int64(holdMost))))
}

// expected returns the expected time to first token of a new prompt after the pending
// ones, 0 if that is not known.
func (p *pace) expected(now, tokens int64) int64 {
	took, step := p.prefill(tokens), p.interval.Load()
	if took == 0 && step == 0 {
		return 0
	}
	return p.pending(now) + took + 2*step
}

func raise(at *atomic.Int64, to int64) {
	for old := at.Load(); old < to && !at.CompareAndSwap(old, to); old = at.Load() {
	}
}

func lower(at *atomic.Int64, to int64) {
	for old := at.Load(); old > to && !at.CompareAndSwap(old, to); old = at.Load() {
	}
}

// pending returns the pending prefill of the server: how long it will take to prefill
// the prompts sent by all gateways, in nanoseconds; 0 if its speed is not known.
func (p *pace) pending(now int64) int64 {
	perToken := p.estimateOrPool()
	if perToken == 0 {
		return 0
	}
	return max(0, p.unseen.Load()-now) + int64(perToken*float64(max(0, p.live.Load()))) + max(0, p.peers.Load()-now)
}

// pendingTokens returns the number of pending prompt tokens of this gateway, and of
// its live requests among them.
func (p *pace) pendingTokens(now int64) (all, live int64) {
	perToken := p.estimateOrDefault()
	live = max(0, p.live.Load())
	all = live + int64(float64(max(0, p.unseen.Load()-now))/perToken)
	return all, min(all, live+int64(float64(max(0, p.plain.endsAt()-now))/perToken))
}

// pendingOfAll returns the number of pending prompt tokens of all gateways.
func (p *pace) pendingOfAll(now int64) int64 {
	own, _ := p.pendingTokens(now)
	return own + p.pendingOfPeers(now)
}

// pendingOfPeers returns the number of pending prompt tokens of other gateways.
func (p *pace) pendingOfPeers(now int64) int64 {
	return int64(float64(max(0, p.peers.Load()-now)) / p.estimateOrDefault())
}

// setPeers records the pending prompt tokens that other gateways reported, and those
// of their live requests among them.
func (p *pace) setPeers(now, tokens, live int64) {
	perToken := p.estimateOrDefault()
	p.peers.Store(now + int64(min(perToken*float64(max(0, tokens)), float64(peersMost))))
	until := int64(0)
	if live > 0 && p.estimate() > 0 {
		until = now + int64(min(perToken*float64(live)+2*float64(p.interval.Load()), float64(holdMost)))
	}
	p.peersLive.Store(until)
}
