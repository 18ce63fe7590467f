package upstreams

import "net/http"

// arrival is the part of an answer that arrived from its server. It estimates the usage if
// the server does not report it.
type arrival struct {
	left   bool  // the client left while a server had the request, before the answer began
	events int64 // of a stream
	bytes  int64 // of another answer that is relayed in parts
	whole  bool  // the answer arrived completely, with its usage if the server reports it
}

// answerBytes is the assumed number of bytes of an answer for each token.
const answerBytes = 4

// outputUnknown reports whether an answer is complete, but nothing is known of its output.
func (got *arrival) outputUnknown(estimated bool) bool {
	return estimated && got.whole && got.events == 0
}

// estimateUsage estimates the usage of a request that a server has worked on but whose usage
// is not known: its client left, its server broke off, or its server reports none. Otherwise
// it would be free to leave before the usage arrives.
//
// The prompt is estimated by the size of the request, as learned from earlier ones of its
// model. Of the answer the part that arrived counts: a token for each event of a stream, or
// for four bytes. Usage that arrived before the end is a lower bound. Requests that have
// failed, and those that servers answer without their engine, use nothing; nor do forms,
// because their bytes are audio. Of a complete answer without usage that is relayed in parts
// the input counts only: its bytes may be anything, such as embeddings.
func (l *live) estimateUsage() {
	got := &l.arrived
	if l.query.Tokens == 0 || l.route.form || got.whole && (l.done.HasUsage || got.events == 0 && got.bytes == 0) {
		return
	}
	if !got.left && (l.done.Status != http.StatusOK || got.events == 0 && got.bytes == 0) {
		return
	}
	u := &l.done.Usage
	if u.InputTokens == 0 {
		u.InputTokens = l.query.Tokens
	}
	u.OutputTokens = max(u.OutputTokens, got.events)
	if !got.whole {
		u.OutputTokens = max(u.OutputTokens, got.bytes/answerBytes)
	}
	u.TotalTokens = u.InputTokens + u.OutputTokens
	l.done.HasUsage, l.done.Estimated = true, true
}
