package upstreams

import (
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// prompt is what an attempt has its server read. The zero value is nothing.
type prompt struct {
	sizes   *promptTokens // of the model; nil when the model has no record
	hits    *prefixHits   // of the model on the server; nil when the server has not told the model
	bytes   int64         // of the request; 0 for one that is not read by an engine
	tokens  int64         // that are not cached, as estimated
	place   int64         // see pace.beginUnseen
	alone   bool          // nothing else was to be read when it was sent
	awaited bool          // a live request that has none
	stream  bool          // its answer is to be streamed
	first   time.Duration // from the connection to the first byte; 0 before it
}

// ask notes that the attempt has its server read a prompt of so many bytes. record is
// of its model, if there is one. stream says that the answer is to be streamed.
func (a *attempt) ask(record *modelRecord, bytes int64, stream bool) {
	u, p := a.up, &a.prompt
	if record != nil {
		p.sizes = &record.prompts
	}
	p.hits, p.bytes = u.hitsOf(a.model), max(1, bytes)
	part := u.cachedPart(p.hits, a.class)
	p.tokens = max(1, int64((1-part)*float64(p.sizes.estimate(p.bytes))))
	a.size = sizeClass(bytes)
	now := u.age()
	p.alone = !u.pace.reads(now) && u.hasRoom()
	switch {
	case a.class == Batch:
		p.place = u.pace.beginUnseen(now, Batch, p.tokens)
	case stream:
		p.awaited, p.stream = true, true
		u.pace.beginLive(now, p.tokens)
		a.glance = u.glanceAt()
	default:
		p.awaited = true
		p.place = u.pace.beginPlain(now, p.tokens)
	}
}

// hasRoom reports whether the server runs one more request at once, as far as that is
// known.
func (u *upstream) hasRoom() bool {
	capacity := u.capacity.Load()
	if capacity == 0 {
		return true
	}
	live, batch := u.counts()
	otherLive, otherBatch := split(u.others.Load())
	return int64(live+batch+otherLive+otherBatch) <= capacity
}

// landed notes the first byte, or that none will come, and reports whether batch lines
// may have waited for it.
func (p *prompt) landed(a *attempt) bool {
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
		a.up.pace.landLive(p.tokens)
	} else {
		a.up.pace.plain.end()
	}
	return true
}

// answered learns from an answer that came whole. interval is the time between the
// tokens of a stream, 0 for other answers or when it is not known.
func (a *attempt) answered(u openai.Usage, told bool, interval time.Duration) {
	p, pace := &a.prompt, &a.up.pace
	if p.bytes == 0 {
		return
	}
	if p.place != 0 {
		pace.endUnseen(a.up.age(), p.place)
	}
	tokens := p.tokens
	if told && u.InputTokens > 0 {
		p.sizes.learn(p.bytes, u.InputTokens)
		p.hits.learn(a.class, u)
		tokens = u.InputTokens - u.InputTokensDetails.CachedTokens
		if !p.hits.tells() {
			tokens = int64((1 - a.up.cachedPart(nil, a.class)) * float64(u.InputTokens))
		}
		tokens = max(1, tokens)
	}
	switch {
	case !a.whole: // its client may have been slow to send it
	case interval > 0: // a stream: its first byte is that of its first token
		pace.passed(float64(tokens), float64(p.first), float64(interval), p.alone)
	case told && u.InputTokens > 0 && u.OutputTokens <= 1: // nothing but a prompt
		pace.passed(float64(tokens), float64(p.first), 0, p.alone)
	}
}
