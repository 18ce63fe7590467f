package upstreams

import (
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// priceMetric is a metric of live streams that batch affects.
type priceMetric uint8

const (
	priceTTFT priceMetric = iota // from dispatch to the first byte
	priceITL                     // between two chunks of a stream
	priceMetrics
)

// phaseKind is the treatment of batch during a phase.
type phaseKind uint8

const (
	phaseNone    phaseKind = iota // no samples: lines are being withheld or are resuming
	phaseWith                     // batch as usual
	phaseWithout                  // batch is withheld, and its last line has ended
)

// phase is a period in which batch is treated in one way on an upstream.
type phase struct {
	kind    phaseKind
	waiting atomic.Int64  // streams that were dispatched in it and have no first byte yet
	drained chan struct{} // cap 1: waiting became 0
}

func newPhase(kind phaseKind) *phase { return &phase{kind: kind, drained: make(chan struct{}, 1)} }

// batchMost is the part of a period during which batch lines must be in flight for a
// sample with batch: consecutive lines leave gaps.
const batchMost = 0.9

// sideOf returns the side for a sample that took span in the phase; batch is the part
// of it during which batch lines were in flight. ok is false if the sample is mixed.
func (s *phase) sideOf(span, batch time.Duration) (with, ok bool) {
	switch s.kind {
	case phaseWith:
		return true, float64(batch) >= batchMost*float64(span)
	case phaseWithout:
		return false, batch == 0
	default:
		return false, false
	}
}

// priceObservation is the state of an upstream when a live stream was dispatched to
// it.
type priceObservation struct {
	phase *phase // nil: no sample
	at    time.Time
	batch time.Duration
}

// sizeClass returns the size class of a prompt in bytes: sizes within one class
// differ by less than a factor of 2.
func sizeClass(bytes int64) uint8 { return uint8(bits.Len64(uint64(max(bytes, 0)))) }

// observe begins the observation of a live stream.
func (u *upstream) observe() priceObservation {
	s := u.phase.Load()
	if s == nil || s.kind == phaseNone {
		return priceObservation{}
	}
	s.waiting.Add(1)
	now := time.Now()
	return priceObservation{s, now, u.batchTime(now)}
}

// end ends the observation. It may be called repeatedly.
func (g *priceObservation) end() {
	if g.phase == nil {
		return
	}
	if g.phase.waiting.Add(-1) == 0 {
		select {
		case g.phase.drained <- struct{}{}:
		default:
		}
	}
	g.phase = nil
}

// firstByte records the time to the first byte as a sample. Streams during which
// batch was both running and not running are not samples.
func (a *attempt) firstByte() {
	g := &a.observation
	if g.phase == nil {
		return
	}
	now := time.Now()
	span := now.Sub(g.at)
	with, ok := g.phase.sideOf(span, a.up.batchTime(now)-g.batch)
	if ok && (!with || a.up.phase.Load() == g.phase) {
		a.pool.book.add(a.up, a.model, priceTTFT, with, a.size, float32(span.Seconds()))
	}
}

// gapsKept is the number of intervals of a stream that are buffered until it is known
// whether they are samples.
const gapsKept = 64

// gaps are the times between chunks of a live stream in one phase.
type gaps struct {
	phase *phase
	begun time.Time
	batch time.Duration // as of begun
	last  time.Time     // of a chunk
	n     int
	spans [gapsKept]float32 // seconds
}

// piece records a chunk of the stream.
func (g *gaps) piece(a *attempt) {
	s := a.up.phase.Load()
	if s == nil && g.phase == nil || a.class != Live {
		return
	}
	now := time.Now()
	if s == g.phase && s.kind != phaseNone {
		g.spans[g.n] = float32(now.Sub(g.last).Seconds())
		g.n++
	}
	g.last = now
	if s != g.phase || g.n == gapsKept {
		g.flush(a)
		g.phase, g.begun, g.batch, g.n = s, now, a.up.batchTime(now), 0
	}
}

// flush records the buffered intervals as samples.
func (g *gaps) flush(a *attempt) {
	if g.phase == nil || g.n == 0 {
		return
	}
	if with, ok := g.phase.sideOf(g.last.Sub(g.begun), a.up.batchTime(g.last)-g.batch); ok {
		a.pool.book.add(a.up, a.model, priceITL, with, a.size, g.spans[:g.n]...)
	}
	g.n = 0
}

// priceSample is one measurement.
type priceSample struct {
	value float32 // seconds
	class uint8
}

// reservoir is a random sample of fixed size of all values added to it.
type reservoir struct {
	n    int
	kept []priceSample
}

// reservoirSize limits the samples that are kept for one window, and for the time
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

// pricePair is a window without batch on one server, and the time with batch
// immediately before it, when other conditions were as similar as possible.
type pricePair struct {
	server *upstream
	at     time.Time // end of the window
	// sides are the samples without batch and with it.
	sides [2][priceMetrics]reservoir
}

const (
	// priceMemory is the time after which a window is removed.
	priceMemory = 3 * time.Hour
	// pricePairs limits the windows kept of a model on one server, priceModels the
	// number of models.
	pricePairs  = 48
	priceModels = 64
	// priceStale is the maximum age of the time with batch before a window.
	priceStale = time.Hour
)

// priceBook stores the samples of all models.
type priceBook struct {
	mu     sync.Mutex
	models map[string]*modelBook // guarded by mu
	// outcomes are the reasons why the last window of a model had no result; guarded
	// by mu.
	outcomes map[string]windowOutcome
}

// modelBook stores the samples of one model.
type modelBook struct {
	now   map[*upstream]*pricePair // being measured
	pairs []*pricePair             // measured, oldest first
	// since is the index of the first pair measured at the current budget.
	since int
	part  float64 // of the slots that the budget allows; 0: all
	price Price   // computed from pairs
}

// add adds samples of one stream. It takes the lock once for each first byte, and
// once for every gapsKept chunks.
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

// close ends the window of a server. Samples of an aborted window are discarded, and
// those with batch before it are kept. It returns the models with new pairs.
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

// complete reports whether both sides have samples in one metric.
func (p *pricePair) complete() bool {
	for m := range priceMetrics {
		if p.sides[0][m].n > 0 && p.sides[1][m].n > 0 {
			return true
		}
	}
	return false
}

// forget removes pairs that are too old, pairs beyond pricePairs, and servers that
// are no longer in the pool.
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
