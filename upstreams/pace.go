package upstreams

import (
	"math"
	"sync/atomic"
	"time"
)

// Batch lines come to a server one prompt after the other: an engine prefills
// prompts in the steps in which it decodes, so that several at once hold up every
// live stream. And none comes while a live request waits for its first token, whose
// prompt would share its steps with it.

const (
	// paceFill is how many prompts that take as long as a step decodes may share a
	// step on a server that is for batch lines; on others it is one.
	paceFill = 4
	// paceCrowd is the number of prefills for each step from which on nearly all steps
	// have one, so that they do not tell how long it takes.
	paceCrowd = 0.7
	// paceAlike is by how many times the time of a step may differ from the average for
	// steps to count as alike.
	paceAlike = 1.15
	// paceFull bounds the pause, while no slot is free, to this part of the time in which
	// one line ends.
	paceFull = 0.8
	// A server whose slots stay free because lines are held back may read prompts side
	// by side. So what holds lines back shrinks by easeStep with each look, until
	// prompts take easeSlower times as long as before; then all is as before. While no
	// slot is free it grows by easeBack.
	easeStep, easeBack, easeSlower = 0.5, 1.05, 1.3
	// easeAfter is how many looks in a row slots have to be free for that: more than a
	// server takes to fill up.
	easeAfter = 6
	// easeLeast is the least part that is left.
	easeLeast = 1.0 / 64
	// paceLeast is the least pause that is kept.
	paceLeast = time.Millisecond
	// holdMost bounds for how long one live request keeps batch lines away.
	holdMost = 10 * time.Second
	// peersMost bounds what is believed of other gateways' pending prefill.
	peersMost = 10 * time.Minute
)

// pace is what is known of the prompts that a server has to read: how quickly it
// does, and which are under way. Prompts are counted in tokens that the server does
// not have in its prefix cache, as estimated. Times are ages of the upstream in
// nanoseconds.
type pace struct {
	speed
	decode atomic.Int64 // nanoseconds of a step without prefill; 0: not known
	cached average32    // part of the prompts in the prefix cache, by the server's counters

	gap    atomic.Int64  // nanoseconds between two batch lines
	held   atomic.Bool   // a line was held back since the last look
	less   atomic.Uint64 // a float64: ease.less
	next   atomic.Int64  // when the next batch line may come
	live   atomic.Int64  // tokens of live streams without a first byte
	stream hold          // of these
	plain  hold          // of live requests without a stream that are not answered

	// Prompts whose first byte is not seen, as of lines and of answers that come whole,
	// are read in the order in which they were sent.
	unseen atomic.Int64 // when they will have been read
	order  atomic.Int64 // tokens of all that were sent so far

	peers     atomic.Int64 // when the prompts of other gateways will have been read
	peersLive atomic.Int64 // until when their live requests keep lines away

	sentTokens, sent [2]atomic.Int64 // prompts, by Class
	done             atomic.Int64    // batch lines that were answered

	learned paceFigures // used by the prober alone
}

// paceFigures are counters at the time of the last look.
type paceFigures struct {
	at           time.Time
	gauges       gauges
	tokens, sent [2]int64
	tokensOf     float64 // of a batch line, an average
	done         int64
	rate         float64 // batch lines that end in a second, an average
	interval     float64 // nanoseconds between two tokens of a request, an average
	prefill      float64 // nanoseconds of a prefill, an average
	ease         ease
}

// prefill returns how long the server takes to read so many tokens, in nanoseconds;
// 0 when that is not known.
func (p *pace) prefill(tokens int64) int64 { return int64(p.known() * float64(tokens)) }

// learn corrects the estimates by the server's own figures as of now. gateways is how
// many send batch lines there, this one included, filled that it has as many requests
// as it should, and of what the server is for.
func (p *pace) learn(now time.Time, g gauges, gateways int, filled bool, of Placement) {
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
	if step := p.step.Load(); step > 0 { // where nothing is decoded prompts hold nothing up
		gap = float64(p.prefill(int64(l.tokensOf)))
		decode := p.decode.Load()
		if decode == 0 {
			decode = step
		}
		// A step decodes beside what it prefills. Short prompts share one.
		together := 1.0
		if of == ForBatch {
			together = paceFill
		}
		gap += min(float64(decode), gap/together)
	}
	l.ease.step(g, was.gauges, p.held.Swap(false) && !filled)
	p.less.Store(math.Float64bits(l.ease.less))
	gap *= float64(gateways) * p.kept()
	l.done = p.done.Load()
	if ended := l.done - was.done; ended > 0 && !was.at.IsZero() {
		blend(&l.rate, float64(ended)/now.Sub(was.at).Seconds())
		if filled { // so that each line that ends is replaced
			gap = min(gap, paceFull*1e9/l.rate)
		}
	}
	if gap < float64(paceLeast) {
		gap = 0
	}
	p.gap.Store(int64(gap))
}

// ease is how much less long lines are held back than the time of their prompts says.
type ease struct {
	less       float64 // 0 to 1
	calm, each float64 // seconds of a prefill, and of a token of it, before; averages
	short      int     // looks in a row
}

// step takes in the server's figures of two looks, and whether slots were free although
// lines were held back.
func (e *ease) step(now, before gauges, short bool) {
	prefill, each := 0.0, 0.0
	if n := now.prefills - before.prefills; n > 0 && now.prefillTime > before.prefillTime {
		prefill = (now.prefillTime - before.prefillTime) / n
		if tokens := now.prompts - before.prompts; tokens > 0 {
			each = prefill * n / tokens
		}
	}
	if e.less == 0 && prefill > 0 {
		blend(&e.calm, prefill)
		blend(&e.each, each)
	}
	e.short++
	part := 1 - e.less
	switch {
	case prefill > easeSlower*e.calm && each >= easeSlower*e.each:
		part, e.short = 1, 0
	case !short:
		part, e.short = min(1, part*easeBack), 0
	case e.short >= easeAfter:
		part = max(easeLeast, part*easeStep)
	}
	e.less = 1 - part
}

// kept is the part of the time that is left of what holds lines back.
func (p *pace) kept() float64 { return 1 - math.Float64frombits(p.less.Load()) }

// learnSpeed takes in how long prefills and steps took since the last look: the
// server says so of the requests that ended.
func (p *pace) learnSpeed(was paceFigures) {
	l := &p.learned
	g, before := l.gauges, was.gauges
	n, intervals := g.prefills-before.prefills, g.intervals-before.intervals
	if !g.told || !before.told || n < 0 || intervals < 0 {
		return // nothing is told, or another process tells it
	}
	if queried := g.queried - before.queried; queried > 0 && g.hits >= before.hits {
		p.cached.add(min(1, (g.hits-before.hits)/queried))
	}
	if intervals == 0 {
		return // nothing is decoded
	}
	interval := (g.intervalTime - before.intervalTime) / intervals * 1e9
	p.toldStep(interval)
	usual := l.interval
	blend(&l.interval, interval)
	span := float64(l.at.Sub(was.at))
	cached, _ := p.cached.value()
	crowd := 0.0 // prefills for each step
	if firsts := g.firsts - before.firsts; firsts > 0 {
		crowd = firsts * interval / span
		tokens := (g.prompt - before.prompt) * (1 - cached)
		if tokens > 0 && (crowd >= paceCrowd || p.known() > 0) {
			// They take no more than all of the time, and the first may have begun before.
			p.atMost(tokens, span+l.prefill)
		}
	}
	tokens := 0.0
	if n > 0 {
		tokens = p.tokensOfEach(was, cached)
	}
	if tokens <= 0 {
		return
	}
	prefill := (g.prefillTime - before.prefillTime) / n * 1e9 // with what else its steps did
	blend(&l.prefill, prefill)
	// The server tells of a prefill when its request has ended. It is compared with the
	// steps of now, so they have to be as they were.
	if crowd < paceCrowd && usual > 0 && max(usual, interval) < paceAlike*min(usual, interval) {
		p.told(tokens, max(0, prefill-interval)/(1-crowd), n)
	}
	p.decode.Store(int64(max(interval/4, interval-crowd*p.known()*tokens)))
}

// tokensOfEach returns how many tokens the prompts that were read since the last look
// had on average beyond the cached ones: as the server counted them, else as this
// gateway estimated its own.
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

// blend moves an average towards a new value; the first one counts whole.
func blend(average *float64, news float64) {
	if *average == 0 {
		*average = news
		return
	}
	*average += learnNews * (news - *average)
}

// open returns from when on a batch line may come.
func (p *pace) open() int64 {
	return max(p.next.Load(), p.stream.over(), p.plain.over(), p.peersLive.Load())
}

// hold keeps batch lines away while requests wait, for some time at most.
type hold struct {
	waiting atomic.Int64 // requests
	until   atomic.Int64
}

// begin counts a request. It has to end.
func (h *hold) begin(until int64) {
	h.waiting.Add(1)
	raise(&h.until, until)
}

func (h *hold) end() { h.waiting.Add(-1) }

// over returns when lines may come.
func (h *hold) over() int64 {
	if h.waiting.Load() == 0 {
		return 0
	}
	return h.until.Load()
}

// admit counts a batch line that is on its way. It is false if another one was
// quicker.
func (p *pace) admit(now int64) bool {
	gap := p.gap.Load()
	if gap == 0 {
		return true
	}
	next := p.next.Load()
	// A line that comes late does not hold up the next one.
	return next <= now && p.next.CompareAndSwap(next, max(next, now-gap)+gap)
}

// beginUnseen notes a prompt of so many tokens that is being sent, and whose first
// byte will not be seen. Its place is for endUnseen.
func (p *pace) beginUnseen(now int64, class Class, tokens int64) (place int64) {
	p.sent[class].Add(1)
	p.sentTokens[class].Add(tokens)
	took := int64(p.some() * float64(tokens))
	for {
		// The step that runs has to end first.
		old := p.unseen.Load()
		if p.unseen.CompareAndSwap(old, max(now+p.step.Load(), old)+took) {
			return p.order.Add(tokens)
		}
	}
}

// endUnseen notes that the request with a place was answered: all before it have been
// read, and only those after it may be left.
func (p *pace) endUnseen(now, place int64) {
	lower(&p.unseen, now+int64(p.some()*float64(p.order.Load()-place)))
}

// endBatch notes that a batch line was answered.
func (p *pace) endBatch() { p.done.Add(1) }

// beginLive notes a live stream of so many tokens that is being sent. Until it has its
// first byte, or ought to have had it long ago, no batch line comes. It is ended by
// landLive, once.
func (p *pace) beginLive(now, tokens int64) {
	expected := p.expected(now, tokens)
	p.sent[Live].Add(1)
	p.sentTokens[Live].Add(tokens)
	p.live.Add(tokens)
	p.stream.begin(now + p.hold(2*expected))
}

// landLive notes that a live stream has its first byte, or has ended.
func (p *pace) landLive(tokens int64) {
	p.live.Add(-tokens)
	p.stream.end()
}

// beginPlain notes a live request whose answer comes whole. Until it is answered, or its
// prompt ought to have been read, no batch line comes. It is ended by plain.end, once,
// and its place is for endUnseen.
func (p *pace) beginPlain(now, tokens int64) (place int64) {
	p.plain.begin(now + p.hold(p.expected(now, tokens)))
	return p.beginUnseen(now, Live, tokens)
}

// hold returns for how long a live request that ought to have its first token within a
// time keeps batch lines away at most.
func (p *pace) hold(expected int64) int64 {
	return int64(p.kept() * float64(min(expected, int64(holdMost))))
}

// expected returns how long a prompt takes that comes after those that are pending, 0
// when that is not known.
func (p *pace) expected(now, tokens int64) int64 {
	took, step := p.prefill(tokens), p.step.Load()
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

// pending is the pending prefill of a server: how long it will take to read the
// prompts that it was sent by all gateways, in nanoseconds; 0 when its speed is not
// known.
func (p *pace) pending(now int64) int64 {
	perToken := p.likely()
	if perToken == 0 {
		return 0
	}
	return max(0, p.unseen.Load()-now) + int64(perToken*float64(max(0, p.live.Load()))) + max(0, p.peers.Load()-now)
}

// reads reports whether the server has prompts to read, of any gateway.
func (p *pace) reads(now int64) bool {
	return p.live.Load() > 0 || p.unseen.Load() > now || p.peers.Load() > now
}

// pendingTokens returns how many tokens of prompts the server still has to read: of
// this gateway, and of these of its live requests.
func (p *pace) pendingTokens(now int64) (all, live int64) {
	perToken := p.some()
	live = max(0, p.live.Load())
	all = live + int64(float64(max(0, p.unseen.Load()-now))/perToken)
	return all, min(all, live+int64(float64(max(0, p.plain.over()-now))/perToken))
}

// pendingOfPeers returns how many tokens of prompts the server still has to read of
// other gateways.
func (p *pace) pendingOfPeers(now int64) int64 {
	return int64(float64(max(0, p.peers.Load()-now)) / p.some())
}

// setPeers takes in how many tokens of prompts other gateways said are pending, and how
// many of these are of live requests.
func (p *pace) setPeers(now, tokens, live int64) {
	perToken := p.some()
	p.peers.Store(now + int64(min(perToken*float64(max(0, tokens)), float64(peersMost))))
	until := int64(0)
	if live > 0 && p.known() > 0 {
		until = now + int64(min(perToken*float64(live)+2*float64(p.step.Load()), float64(holdMost)))
	}
	p.peersLive.Store(until)
}
