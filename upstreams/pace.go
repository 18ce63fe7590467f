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
	// paceNews is the weight of the newest figures in what is learned of a server.
	paceNews = 0.3
	// paceShare bounds the part of a server's time that prompts of batch lines take, as
	// one to this: decoding has the rest.
	paceShare = 1
	// paceCrowd is the number of prefills for each step from which on nearly all steps
	// have one, so that they do not tell how long it takes.
	paceCrowd = 0.7
	// paceLeast is the least pause that is kept.
	paceLeast = time.Millisecond
	// holdMost bounds for how long one live request keeps batch lines away.
	holdMost = 10 * time.Second
)

// pace is what is known of the time that a server takes for prompts, and which of
// them are under way. Times are ages of the upstream in nanoseconds.
type pace struct {
	perByte atomic.Uint64 // a float64: nanoseconds of prefill for each byte of a request; 0: not known
	step    atomic.Int64  // nanoseconds between two tokens of a request; 0: not known
	decode  atomic.Int64  // nanoseconds of a step without prefill; 0: not known
	gap     atomic.Int64  // nanoseconds between two batch lines
	next    atomic.Int64  // when the next batch line may come
	batch   atomic.Int64  // when the prompts of batch lines will have been read
	plain   atomic.Int64  // until when a live request without a stream keeps lines away
	stream  atomic.Int64  // until when live streams that wait do
	waiting atomic.Int64  // live streams without a first byte
	live    atomic.Int64  // nanoseconds of prefill of these

	sentBytes, sent [2]atomic.Int64 // bodies, by Class
	done            atomic.Int64    // batch lines that were answered

	learned paceFigures // used by the prober alone
}

// paceFigures are counters at the time of the last look.
type paceFigures struct {
	at          time.Time
	gauges      gauges
	bytes, sent [2]int64
	bytesOf     float64 // of a batch line, an average
}

// prefill returns how long the server takes to read a request of so many bytes, in
// nanoseconds; 0 when that is not known.
func (p *pace) prefill(bytes int64) int64 {
	return int64(math.Float64frombits(p.perByte.Load()) * float64(max(0, bytes)))
}

// learn updates the estimates from the server's own figures as of now. gateways is how
// many send batch lines there, this one included.
func (p *pace) learn(now time.Time, g gauges, gateways int) {
	l, was := &p.learned, p.learned
	l.at, l.gauges = now, g
	for class := range l.bytes {
		l.bytes[class], l.sent[class] = p.sentBytes[class].Load(), p.sent[class].Load()
	}
	if n := l.sent[Batch] - was.sent[Batch]; n > 0 {
		blend(&l.bytesOf, float64(l.bytes[Batch]-was.bytes[Batch])/float64(n))
	}
	p.learnSpeed(was)
	gap := float64(p.prefill(int64(l.bytesOf)))
	// A step decodes beside what it prefills. Short prompts share one.
	gap += min(float64(p.decode.Load()), gap/paceShare)
	gap *= float64(gateways)
	if gap < float64(paceLeast) {
		gap = 0
	}
	p.gap.Store(int64(gap))
}

// learnSpeed takes in how long prefills and steps took since the last look: the
// server says so of the requests that ended.
func (p *pace) learnSpeed(was paceFigures) {
	l := &p.learned
	g, before := l.gauges, was.gauges
	n, intervals := g.prefills-before.prefills, g.intervals-before.intervals
	if !g.told || !before.told || n < 0 || intervals <= 0 {
		return // nothing is told, another process tells it, or nothing is decoded
	}
	interval := (g.intervalTime - before.intervalTime) / intervals * 1e9
	step := float64(p.step.Load())
	blend(&step, interval)
	p.step.Store(int64(step))
	sent := float64(l.sent[Live] + l.sent[Batch] - was.sent[Live] - was.sent[Batch])
	bytes := float64(l.bytes[Live] + l.bytes[Batch] - was.bytes[Live] - was.bytes[Batch])
	if n == 0 || sent <= 0 || bytes <= 0 {
		return
	}
	prefill := (g.prefillTime - before.prefillTime) / n * 1e9 // with what else its steps did
	crowd := n * interval / float64(l.at.Sub(was.at))         // prefills for each step
	perByte := math.Float64frombits(p.perByte.Load())
	switch most := interval / crowd / (bytes / sent); {
	case crowd < paceCrowd:
		blend(&perByte, max(0, prefill-interval)/(1-crowd)/(bytes/sent))
	case perByte == 0 || perByte > most: // prompts take no more than all of the time
		perByte = most
	}
	p.perByte.Store(math.Float64bits(perByte))
	p.decode.Store(int64(max(interval/4, interval-crowd*perByte*bytes/sent)))
}

// blend moves an average towards a new value; the first one counts whole.
func blend(average *float64, news float64) {
	if *average == 0 {
		*average = news
		return
	}
	*average += paceNews * (news - *average)
}

// open returns from when on a batch line may come.
func (p *pace) open() int64 {
	at := max(p.next.Load(), p.plain.Load())
	if p.waiting.Load() > 0 {
		at = max(at, p.stream.Load())
	}
	return at
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

// beginBatch notes a batch line of so many bytes that is being sent.
func (p *pace) beginBatch(now, bytes int64) {
	p.sent[Batch].Add(1)
	p.sentBytes[Batch].Add(bytes)
	if took := p.prefill(bytes); took > 0 {
		// The step that runs has to end first.
		p.batch.Store(max(now+p.step.Load(), p.batch.Load()) + took)
	}
}

// endBatch notes that a batch line was answered.
func (p *pace) endBatch() { p.done.Add(1) }

// beginLive notes a live request of so many bytes that is being sent. Until it has
// its first byte, or ought to have had it long ago, no batch line comes. What it
// returns is for landLive, once.
func (p *pace) beginLive(now, bytes int64, stream bool) (weight int64) {
	p.sent[Live].Add(1)
	p.sentBytes[Live].Add(max(0, bytes))
	took, step := p.prefill(bytes), p.step.Load()
	if took == 0 && step == 0 {
		return 0
	}
	before := p.pending(now)
	expected := before + took + 2*step
	if !stream {
		raise(&p.plain, now+min(expected, int64(holdMost)))
		return 0
	}
	weight = max(1, took)
	p.live.Add(weight)
	p.waiting.Add(1)
	raise(&p.stream, now+min(2*expected, int64(holdMost)))
	return weight
}

// landLive notes that a live stream has its first byte, or has ended.
func (p *pace) landLive(weight int64) {
	p.live.Add(-weight)
	p.waiting.Add(-1)
}

func raise(at *atomic.Int64, to int64) {
	for old := at.Load(); old < to && !at.CompareAndSwap(old, to); old = at.Load() {
	}
}

// pending is the pending prefill of a server: how long it will take to read the
// prompts that it was sent, in nanoseconds; 0 when that is not known.
func (p *pace) pending(now int64) int64 {
	return max(0, p.batch.Load()-now) + max(0, p.live.Load())
}
