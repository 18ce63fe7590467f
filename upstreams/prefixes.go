package upstreams

import (
	"sync/atomic"

	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams/prefix"
)

const (
	// prefixDefault is the assumed capacity of a prefix cache that the server does not
	// report, in blocks: 1 MiB of text.
	prefixDefault = 1 << 20 / prefix.BlockBytes
	// prefixMost limits the memory for a server: about 100 bytes for each block.
	prefixMost = 1 << 17
	// prefixWrong is the part of a predicted prefix below which the actual one shows
	// that the server evicted blocks earlier than predicted.
	prefixWrong = 0.75
	// prefixShrink and prefixGrow change the assumed capacity after a wrong and after a
	// correct prediction; prefixLeast is the minimum, as a part of the reported
	// capacity.
	prefixShrink, prefixGrow, prefixLeast = 0.95, 1.005, 1.0 / 16
)

// prefixes predicts which blocks of prompts are in the prefix cache of a server, from
// the prompts that this gateway sent there.
type prefixes struct {
	prefix.Cache
	// lost is the part of the reported capacity that is not available for prompts of
	// this gateway, by the corrections. Blocks of answers and of other clients take it.
	lost atomicFloat

	// Sums of live requests whose usage the server reported, in tokens, see compare.
	compared, predictedTokens, cachedTokens atomic.Int64
}

// compare adds a live request's prompt, the predicted part of it, and the part that the
// server reported as cached.
func (x *prefixes) compare(predicted float64, u openai.Usage) {
	x.compared.Add(u.InputTokens)
	x.predictedTokens.Add(int64(predicted * float64(u.InputTokens)))
	x.cachedTokens.Add(min(u.InputTokens, u.InputTokensDetails.CachedTokens))
}

// cachedPart returns the part of a prompt in a request of a number of bytes that is
// predicted to be cached, 0 to 1.
func (x *prefixes) cachedPart(chain prefix.Chain, bytes int64) float64 {
	if len(chain) == 0 || bytes == 0 {
		return 0
	}
	return min(1, float64(x.Has(chain)*prefix.BlockBytes)/float64(bytes))
}

// correct compares a prediction with the usage that the server reported.
func (x *prefixes) correct(predicted float64, u openai.Usage) {
	if predicted == 0 || u.InputTokens == 0 {
		return
	}
	left := 1 - x.lost.load()
	if float64(u.InputTokensDetails.CachedTokens) < prefixWrong*predicted*float64(u.InputTokens) {
		left *= prefixShrink
	} else {
		left *= prefixGrow
	}
	x.lost.store(1 - min(1, max(prefixLeast, left)))
}

// update sets the capacity by the server's settings, and clears the prediction if
// another process answers than before: its counters are lower.
func (x *prefixes) update(before, now *gauges, f *Facts) {
	if before.hasTokens && now.hasTokens && now.prompt+now.generated < before.prompt+before.generated {
		x.Clear()
	}
	x.Resize(int(float64(prefixCapacity(f)) * (1 - x.lost.load())))
}

// prefixCapacity returns the capacity of the prefix cache of a server in blocks. With
// several engines behind one address only one of them has a prompt, but all of them
// together have room for so many.
func prefixCapacity(f *Facts) int {
	switch {
	case f.PrefixCaching == "False":
		return 0
	case f.Blocks == 0 || f.BlockSize == 0:
		return prefixDefault
	}
	tokens := float64(f.Blocks) * float64(f.BlockSize) * float64(max(1, f.Engines))
	return int(min(prefixMost, tokens*bytesPerToken/prefix.BlockBytes))
}

// chainOf returns the chain of blocks of the prompt in a body, nil if it has none.
func chainOf(model string, body []byte) prefix.Chain {
	p := openai.FindPrompt(body)
	if p.Parts[len(p.Parts)-1] == nil {
		return nil
	}
	room := make(prefix.Chain, 0, min(prefix.MaxBlocks, len(body)/prefix.BlockBytes+len(p.Parts)))
	return prefix.Append(room, prefix.Seed(model, string(p.Salt)), p.Parts[:]...)
}

// setPrompt sets the prompt of a request. record is the record of its model, or nil.
func (q *Query) setPrompt(record *modelRecord, body *payload) {
	var sizes *promptTokens
	if record != nil {
		sizes = &record.prompts
	}
	q.Chain = chainOf(q.Model, body.head)
	q.Bytes = max(1, body.length, int64(len(body.head)))
	q.Tokens = sizes.estimate(q.Bytes)
}

// uncachedTokens returns how many tokens of the prompt are predicted not to be in the
// prefix cache of u, at least 1.
func (q *Query) uncachedTokens(u *upstream) int64 {
	return max(1, int64(float64(q.Tokens)*(1-u.prefixes.cachedPart(q.Chain, q.Bytes))))
}

// reserve counts the prompt as pending on u until unreserve is called, so that requests
// that are placed at the same moment do not all choose the same server.
func (q *Query) reserve(u *upstream) {
	if q.Tokens > 0 {
		q.reserved = q.uncachedTokens(u)
		u.pace.live.Add(q.reserved)
	}
}

// unreserve undoes reserve, if it was called.
func (q *Query) unreserve(u *upstream) {
	u.pace.live.Add(-q.reserved)
	q.reserved = 0
}
