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
	// paceFill bounds the pause between two lines to this part of the time in which
	// one line ends when as many run as may: pacing spreads lines and keeps no slot
	// free.
	paceFill = 0.8
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
	gap     atomic.Int64  // nanoseconds between two batch lines
	next    atomic.Int64  // when the next batch line may come
	batch   atomic.Int64  // when the prompts of batch lines will have been read
	plain   atomic.Int64  // until when a live request without a stream keeps lines away
	stream  atomic.Int64  // until when live streams that wait do
	waiting atomic.Int64  // live streams without a first byte
	live    atomic.Int64  // nanoseconds of prefill of these

	sentBytes, sent [2]atomic.Int64 // bodies, by Class
	done            atomic.Int64    // batch lines that were answered
	lineTime        atomic.Int64    // nanoseconds that they took, a sum

	learned paceFigures // used by the prober alone
}

// paceFigures are counters at the time of the last look.
type paceFigures struct {
	gauges                 gauges
	bytes, sent            [2]int64
	done, lineTime         int64
	prefill, bytesOf, life float64 // averages: ns of a prefill, bytes of a batch line, ns of a batch line
}

// prefill returns how long the server takes to read a request of so many bytes, in
// nanoseconds; 0 when that is not known.
func (p *pace) prefill(bytes int64) int64 {
	return int64(math.Float64frombits(p.perByte.Load()) * float64(max(0, bytes)))
}

// learn updates the estimates from the server's own figures. limit is how many requests it
// should have at once.
func (p *pace) learn(g gauges, limit int) {
	l, was := &p.learned, p.learned
	l.gauges = g
	for class := range l.bytes {
		l.bytes[class], l.sent[class] = p.sentBytes[class].Load(), p.sent[class].Load()
	}
	l.done, l.lineTime = p.done.Load(), p.lineTime.Load()
	if n := l.done - was.done; n > 0 {
		blend(&l.life, float64(l.lineTime-was.lineTime)/float64(n))
	}
	if n := l.sent[Batch] - was.sent[Batch]; n > 0 {
		blend(&l.bytesOf, float64(l.bytes[Batch]-was.bytes[Batch])/float64(n))
	}
	p.learnSpeed(was)
	gap := float64(p.prefill(int64(l.bytesOf)))
	if gap > 0 {
		gap += float64(p.step.Load()) / 2
	}
	if l.life > 0 && limit > 0 {
		gap = min(gap, paceFill*l.life/float64(limit))
	} else {
		gap = 0
	}
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
	if !g.told || !before.told {
		return
	}
	if n := g.intervals - before.intervals; n > 0 && g.intervalTime >= before.intervalTime {
		step := float64(p.step.Load())
		blend(&step, (g.intervalTime-before.intervalTime)/n*1e9)
		p.step.Store(int64(step))
	}
	n := g.prefills - before.prefills
	sent := float64(l.sent[Live] + l.sent[Batch] - was.sent[Live] - was.sent[Batch])
	bytes := float64(l.bytes[Live] + l.bytes[Batch] - was.bytes[Live] - was.bytes[Batch])
	if n <= 0 || g.prefillTime < before.prefillTime || sent <= 0 || bytes <= 0 {
		return
	}
	blend(&l.prefill, (g.prefillTime-before.prefillTime)/n*1e9)
	own := max(0, l.prefill-float64(p.step.Load())) // without the decoding in the same steps
	perByte := math.Float64frombits(p.perByte.Load())
	blend(&perByte, own/(bytes/sent))
	p.perByte.Store(math.Float64bits(perByte))
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

// endBatch notes that a batch line was answered after so long.
func (p *pace) endBatch(took time.Duration) {
	p.done.Add(1)
	p.lineTime.Add(int64(took))
}

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
