package upstreams

import (
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// priceMetric is what of a live stream the price of batch is about.
type priceMetric uint8

const (
	priceTTFT priceMetric = iota // from dispatch to the first byte
	priceITL                     // between two pieces of a stream
	priceMetrics
)

// spellKind says what live streams of a spell are samples of.
type spellKind uint8

const (
	spellNone    spellKind = iota // nothing: batch is being withheld or comes back
	spellWith                     // batch as usual
	spellWithout                  // batch is withheld, and its last line has ended
)

// spell is a time in which batch is treated in one way on an upstream.
type spell struct {
	kind    spellKind
	waiting atomic.Int64  // streams that were dispatched in it and have no first byte
	landed  chan struct{} // cap 1: waiting became 0
}

func newSpell(kind spellKind) *spell { return &spell{kind: kind, landed: make(chan struct{}, 1)} }

// batchMost is the part of a time that batch lines must be there for it to count as
// a time with batch: lines that follow each other leave gaps.
const batchMost = 0.9

// sideOf says of which side a time in a spell is a sample: batch is how long of it
// batch lines were there. ok is false when it is of neither.
func (s *spell) sideOf(span, batch time.Duration) (with, ok bool) {
	switch s.kind {
	case spellWith:
		return true, float64(batch) >= batchMost*float64(span)
	case spellWithout:
		return false, batch == 0
	default:
		return false, false
	}
}

// glance is how an upstream was when a live stream was dispatched to it.
type glance struct {
	spell *spell // nil: it is not a sample
	at    time.Time
	batch time.Duration
}

// sizeClass is the class of a prompt of so many bytes: prompts of one class differ
// in size by less than a factor of 2.
func sizeClass(bytes int64) uint8 { return uint8(bits.Len64(uint64(max(bytes, 0)))) }

// glanceAt begins to watch a live stream.
func (u *upstream) glanceAt() glance {
	s := u.spell.Load()
	if s == nil || s.kind == spellNone {
		return glance{}
	}
	s.waiting.Add(1)
	now := time.Now()
	return glance{s, now, u.batchTime(now)}
}

// over ends the watch of a glance that landed reported, or that came to nothing.
func (g *glance) over() {
	if g.spell == nil {
		return
	}
	if g.spell.waiting.Add(-1) == 0 {
		select {
		case g.spell.landed <- struct{}{}:
		default:
		}
	}
	g.spell = nil
}

// firstByte takes the time to the first byte as a sample. Streams that saw batch
// both run and not run are none.
func (a *attempt) firstByte() {
	g := &a.glance
	if g.spell == nil {
		return
	}
	now := time.Now()
	span := now.Sub(g.at)
	with, ok := g.spell.sideOf(span, a.up.batchTime(now)-g.batch)
	if ok && (!with || a.up.spell.Load() == g.spell) {
		a.pool.book.add(a.up, a.model, priceTTFT, with, a.size, float32(span.Seconds()))
	}
}

// gapsKept bounds how many gaps of a stream are held until they are known to be
// samples.
const gapsKept = 64

// gaps are times between pieces of a live stream in one spell.
type gaps struct {
	spell *spell
	begun time.Time
	batch time.Duration // as of begun
	last  time.Time     // a piece
	n     int
	spans [gapsKept]float32 // seconds
}

// piece takes note of a piece of the stream.
func (g *gaps) piece(a *attempt) {
	s := a.up.spell.Load()
	if s == nil && g.spell == nil || a.class != Live {
		return
	}
	now := time.Now()
	if s == g.spell && s.kind != spellNone {
		g.spans[g.n] = float32(now.Sub(g.last).Seconds())
		g.n++
	}
	g.last = now
	if s != g.spell || g.n == gapsKept {
		g.flush(a)
		g.spell, g.begun, g.batch, g.n = s, now, a.up.batchTime(now), 0
	}
}

// flush takes the gaps as samples.
func (g *gaps) flush(a *attempt) {
	if g.spell == nil || g.n == 0 {
		return
	}
	if with, ok := g.spell.sideOf(g.last.Sub(g.begun), a.up.batchTime(g.last)-g.batch); ok {
		a.pool.book.add(a.up, a.model, priceITL, with, a.size, g.spans[:g.n]...)
	}
	g.n = 0
}

// priceSample is one measurement.
type priceSample struct {
	value float32 // seconds
	class uint8
}

// reservoir is a random sample of fixed size of all that was added to it.
type reservoir struct {
	n    int
	kept []priceSample
}

// reservoirSize bounds the samples that are kept of one window, and of the time
// before it.
const reservoirSize = 128

func (r *reservoir) add(s priceSample) {
	r.n++
	if len(r.kept) < reservoirSize {
		r.kept = append(r.kept, s)
	} else if i := rand.IntN(r.n); i < reservoirSize {
		r.kept[i] = s
	}
}

// pricePair is a window without batch on one server and the time with batch before
// it, which is as like it as can be: what they differ in besides batch is chance.
type pricePair struct {
	server *upstream
	at     time.Time // end of the window
	// sides are the samples without batch and with it.
	sides [2][priceMetrics]reservoir
}

const (
	// priceMemory is how long a window is remembered.
	priceMemory = 3 * time.Hour
	// pricePairs bounds how many are remembered of a model on one server, and
	// priceModels of how many models any are.
	pricePairs  = 48
	priceModels = 64
	// priceStale is how old the time with batch before a window may be.
	priceStale = time.Hour
)

// priceBook keeps the samples of all models.
type priceBook struct {
	mu     sync.Mutex
	models map[string]*modelBook // guarded by mu
	// outcomes says why the last window of a model brought nothing; guarded by mu.
	outcomes map[string]windowOutcome
}

// modelBook keeps those of one model.
type modelBook struct {
	now   map[*upstream]*pricePair // being measured
	pairs []*pricePair             // measured, oldest first
	// since is from which pair on they were measured at the present budget.
	since int
	part  float64 // of the slots that the budget leaves; 0: all
	price Price   // what they say
}

// add takes samples of one stream. It costs a lock for each first byte, and one for
// every gapsKept pieces.
func (b *priceBook) add(u *upstream, model string, m priceMetric, with bool, class uint8, values ...float32) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.models[model]
	if at == nil {
		if len(b.models) == priceModels {
			return
		}
		if b.models == nil {
			b.models = make(map[string]*modelBook)
		}
		at = &modelBook{now: make(map[*upstream]*pricePair)}
		b.models[model] = at
	}
	pair := at.now[u]
	if pair == nil || with && now.Sub(pair.at) > priceStale {
		pair = &pricePair{server: u, at: now}
		at.now[u] = pair
	}
	side := 0
	if with {
		side = 1
	}
	for _, v := range values {
		pair.sides[side][m].add(priceSample{v, class})
	}
}

// close ends the window of a server. Samples of a window that was given up are
// dropped; those with batch before it stay. It returns the models that have more
// to go by.
func (b *priceBook) close(u *upstream, measured bool) (models []string) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for model, at := range b.models {
		pair := at.now[u]
		if pair == nil {
			continue
		}
		if !measured {
			pair.sides[0] = [priceMetrics]reservoir{}
			continue
		}
		delete(at.now, u)
		if pair.complete() {
			pair.at = now
			at.pairs = append(at.pairs, pair)
			models = append(models, model)
		}
	}
	return models
}

// complete reports whether there is something to compare.
func (p *pricePair) complete() bool {
	for m := range priceMetrics {
		if p.sides[0][m].n > 0 && p.sides[1][m].n > 0 {
			return true
		}
	}
	return false
}

// forget drops what is too old or too much, and servers that are not among those of
// the pool.
func (b *priceBook) forget(servers map[*upstream]bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for model, at := range b.models {
		for u := range at.now {
			if !servers[u] {
				delete(at.now, u)
			}
		}
		of := make(map[*upstream]int)
		for _, p := range at.pairs {
			of[p.server]++
		}
		kept, since := at.pairs[:0], at.since
		for i, p := range at.pairs {
			if servers[p.server] && now.Sub(p.at) <= priceMemory && of[p.server] <= pricePairs {
				kept = append(kept, p)
				continue
			}
			of[p.server]--
			if i < since {
				at.since--
			}
		}
		clear(at.pairs[len(kept):])
		if at.pairs = kept; len(kept) == 0 && len(at.now) == 0 && at.part == 0 {
			delete(b.models, model)
		}
	}
}
