package upstreams

import (
	"net/http"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/internal/openai"
)

// Limit makes the proxy enforce the limits of clients. It must be called before the first
// request.
func (x *Proxy) Limit(l *limits.Limiter) { x.limits = l }

// takeLimits takes the request from the limits of its client, or returns the error for a
// limit that is reached.
func (l *live) takeLimits(client access.Identity) error {
	of := limits.Of(client)
	if !l.proxy.limits.Limited(of) {
		return nil
	}
	prompt, answer := l.route.estimate(l.body)
	grant, refused := l.proxy.limits.Admit(of, l.proxy.limits.Estimate(l.query.Model, prompt, answer))
	if refused != nil {
		refused.Header(l.w.Header())
		if refused.Exhausted() {
			return openai.InsufficientQuota(refused.Wait, "%s", refused.Error())
		}
		return openai.Overloaded(refused.Wait, "%s", refused.Error())
	}
	l.grant = grant
	grant.Header(l.w.Header()) // of errors, too
	return nil
}

// estimate returns the tokens of a request for its limits. The bytes of a form are audio,
// not text: by them, a short recording would have millions of tokens, which would remain
// counted because servers report none for it.
func (rt *route) estimate(body *payload) (prompt, answer int64) {
	if rt.form {
		return 0, 0
	}
	return openai.PromptTokens(max(body.length, int64(len(body.head)))), openai.AnswerTokens(body.head)
}

// endLimits returns what the request has not used. If the client left before the answer, or
// the answer has no usage, what its server has generated is not known, and the estimate
// remains.
func (l *live) endLimits() {
	if l.grant == nil {
		return
	}
	l.grant.End(limits.Outcome{
		Sent:   l.connected || l.judged,
		Failed: l.done.Status >= http.StatusBadRequest && !l.arrived.left || l.done.Status == 0,
		Known:  l.done.HasUsage && !l.arrived.left && !l.arrived.outputUnknown(l.done.Estimated),
		Tokens: l.done.Usage.InputTokens + l.done.Usage.OutputTokens,
	})
}

// answerHeader copies the header of an upstream's answer, except those of the upstream's
// own limits if the client has limits here.
func (l *live) answerHeader(src http.Header) {
	h := l.w.Header()
	answerHeader(h, src, l.id)
	l.grant.Header(h)
}
