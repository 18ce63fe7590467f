package upstreams

import (
	"time"

	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams/prefix"
)

// prompt tracks the prefill of an attempt. The zero value has no prompt.
type prompt struct {
	sizes  *promptTokens // of the model; nil when the model has no record
	hits   *prefixHits   // of the model on the server; nil if the server has not reported the model
	bytes  int64         // of the request; 0 if the engine does not read it
	tokens int64         // not cached, as estimated
	place  int64         // see pace.beginUnseen
	// predicted is the part that was predicted to be cached; 0 if there was no
	// prediction.
	predicted float64
	pending   int64         // tokens of other prompts that were pending when it was sent; -1: not known
	awaited   bool          // a live request without a first byte
	stream    bool          // the answer is streamed
	first     time.Duration // from the connection to the first byte; 0 before it
}

// setPrompt records that the server has to prefill a prompt of a number of bytes.
// record is the record of its model, or nil. stream reports whether the answer is
// streamed, chain the chain of blocks of the prompt, nil if it is not known.
func (a *attempt) setPrompt(record *modelRecord, bytes int64, stream bool, chain prefix.Chain) {
	u, p := a.up, &a.prompt
	if record != nil {
		p.sizes = &record.prompts
	}
	p.hits, p.bytes = u.hitsOf(a.model), max(1, bytes)
	part := u.cachedPart(p.hits, a.class)
	if predicted := u.prefixes.cachedPart(chain, p.bytes); predicted > 0 {
		part, p.predicted = predicted, predicted
	}
	p.tokens = max(1, int64((1-part)*float64(p.sizes.estimate(p.bytes))))
	a.size = sizeClass(bytes)
	now := u.age()
	p.pending = -1
	if u.hasRoom() {
		p.pending = u.pace.pendingOfAll(now)
	}
	switch {
	case a.class == Batch:
		p.place = u.pace.beginUnseen(now, Batch, p.tokens)
	case stream:
		p.awaited, p.stream = true, true
		u.pace.beginLive(now, p.tokens)
		a.observation = u.observe()
	default:
		p.awaited = true
		p.place = u.pace.beginPlain(now, p.tokens)
	}
	if len(chain) > 0 { // last, because it takes time in which the prompt is already pending
		u.prefixes.Use(chain)
	}
}

// hasRoom reports whether the server can run this request at once, as far as known.
func (u *upstream) hasRoom() bool {
	capacity := u.capacity.Load()
	if capacity == 0 {
		return true
	}
	live, batch := u.counts()
	otherLive, otherBatch := split(u.others.Load())
	return int64(live+batch+otherLive+otherBatch) <= capacity
}

// finishPrefill records the first byte, or that none will come, and reports whether
// batch lines may have been held back for it.
func (p *prompt) finishPrefill(a *attempt) bool {
	if p.bytes == 0 || p.first != 0 {
		return false
	}
	from := a.sentAt
	if from.IsZero() {
		from = a.begun
	}
	p.first = max(1, time.Since(from))
	if !p.awaited {
		return false
	}
	p.awaited = false
	if p.stream {
		a.up.pace.endLive(p.tokens)
	} else {
		a.up.pace.plain.end()
	}
	return true
}

// answered updates the estimates from a complete answer. interval is the time between
// the tokens of a stream, 0 for other answers or if it is not known.
func (a *attempt) answered(u openai.Usage, hasUsage bool, interval time.Duration) {
	p, pace := &a.prompt, &a.up.pace
	if p.bytes == 0 {
		return
	}
	if p.place != 0 {
		pace.endUnseen(a.up.age(), p.place)
	}
	tokens := p.tokens
	if hasUsage && u.InputTokens > 0 {
		p.sizes.learn(p.bytes, u.InputTokens)
		p.hits.learn(a.class, u)
		if p.hits.isReported() {
			a.up.prefixes.correct(p.predicted, u)
			if a.class == Live {
				a.up.prefixes.compare(p.predicted, u)
			}
		}
		tokens = u.InputTokens - u.InputTokensDetails.CachedTokens
		if !p.hits.isReported() {
			tokens = int64((1 - a.up.cachedPart(nil, a.class)) * float64(u.InputTokens))
		}
		tokens = max(1, tokens)
	}
	switch {
	case !a.whole: // its client may have sent it slowly
	case interval > 0: // the first byte of a stream is that of its first token
		pace.addStream(float64(tokens), float64(p.pending), float64(p.first), float64(interval))
	case hasUsage && u.InputTokens > 0 && u.OutputTokens <= 1: // prefill only
		pace.addStream(float64(tokens), float64(p.pending), float64(p.first), 0)
	}
}
