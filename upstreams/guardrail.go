package upstreams

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/guardrail"
	"github.com/tidegate/tidegate/internal/openai"
)

// applyGuardrail replaces the guardrail's client if its configuration has changed.
// p.mu is held.
func (p *Pool) applyGuardrail() {
	cfg := p.cfg.Guardrail
	if p.guardrail != nil {
		if cfg == p.guardrail.Config() {
			return
		}
		p.guardrail.Close()
		p.guardrail = nil
		p.decisions.failure.Store(nil)
	}
	if cfg.URL != "" {
		p.guardrail = guardrail.New(cfg)
	}
}

// decision is the outcome of a check, for metrics.
type decision uint8

const (
	passed decision = iota
	rejected
	replaced
	undecidedPassed  // no decision, and the guardrail fails open
	undecidedRefused // no decision, and it does not
	decisionKinds
)

// decisions are the outcomes of actions.
var decisions = map[guardrail.Action]decision{guardrail.Pass: passed, guardrail.Reject: rejected, guardrail.Replace: replaced}

var decisionNames = [decisionKinds]string{"pass", "reject", "replace", "failed_open", "failed_closed"}

// guardrailState counts the decisions by class, and knows the last failure.
type guardrailState struct {
	counts  [2][decisionKinds]atomic.Int64
	failure atomic.Pointer[string] // why there is no decision; nil after one
}

// GuardrailFailure returns why the guardrail made no decision about the last request,
// "" if it did.
func (p *Pool) GuardrailFailure() string {
	if why := p.decisions.failure.Load(); why != nil {
		return *why
	}
	return ""
}

// guardrailRetry is the Retry-After when the guardrail does not decide.
const guardrailRetry = 5 * time.Second

// checkLive asks the guardrail about a live request, and replaces l.body if it says so.
// The error is for the client.
func (p *Pool) checkLive(s *snapshot, l *live) error {
	g := s.guardrail
	if g == nil || s.cfg.Guardrail.SkipLive {
		return nil
	}
	if !l.body.replayable() {
		if s.cfg.Guardrail.FailOpen {
			p.decisions.counts[Live][undecidedPassed].Add(1)
			return nil
		}
		p.decisions.counts[Live][undecidedRefused].Add(1)
		return openai.TooLarge("", "The body is larger than this gateway's guardrail can check, which is retry_buffer (%d bytes).", s.cfg.RetryBuffer)
	}
	isJSON := !l.route.form && json.Valid(l.body.head)
	if !l.route.form && !isJSON {
		return errNotJSON // servers that read more than JSON would run what was not checked
	}
	client := access.From(l.r.Context())
	d, err := g.Check(l.r.Context(), guardrail.Request{
		ID: l.id[0], Class: Live.String(), Tenant: client.Tenant, KeyID: client.KeyID, KeyName: client.Name, Endpoint: l.route.path, ContentType: l.r.Header.Get("Content-Type"), Body: l.body.head, JSON: isJSON,
	})
	if err != nil {
		if l.r.Context().Err() != nil {
			return err
		}
		return p.undecided(s, Live, l.route, err)
	}
	p.count(Live, d)
	switch d.Action {
	case guardrail.Pass:
	case guardrail.Reject:
		l.judged = true
		return rejection(d)
	case guardrail.Replace:
		l.body = &payload{head: d.Body, length: int64(len(d.Body))}
	}
	return nil
}

// checkLine asks the guardrail about a batch line. It returns the body to send, or the
// answer of a line that is not sent. If the guardrail does not decide, the line waits
// and is tried again. A replaced body must be for the line's model: the rights of the key,
// the server and the price are those of that model.
func (p *Pool) checkLine(ctx context.Context, s *snapshot, rt *route, model string, body []byte) ([]byte, *Answer, error) {
	g := s.guardrail
	if g == nil || s.cfg.Guardrail.SkipBatch {
		return body, nil, nil
	}
	client := access.From(ctx)
	d, err := g.Check(ctx, guardrail.Request{
		Class: Batch.String(), Tenant: client.Tenant, KeyID: client.KeyID, KeyName: client.Name, Endpoint: rt.path, ContentType: "application/json", Body: body, JSON: true,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if p.undecided(s, Batch, rt, err) == nil {
			return body, nil, nil
		}
		return nil, &Answer{Next: Elsewhere, Reason: "the guardrail does not decide: " + err.Error()}, nil
	}
	p.count(Batch, d)
	var refusal *openai.Error
	switch {
	case d.Action == guardrail.Reject:
		refusal = rejection(d)
	case d.Action == guardrail.Replace && !isFor(d.Body, model):
		refusal = openai.InvalidRequest("model", codeModelReplaced, "This gateway's guardrail replaced the body of this line by one that is not for its model '%s' alone.", clip(model))
	default:
		return d.Body, nil, nil
	}
	text, err := json.Marshal(refusal)
	if err != nil { // strings always marshal
		panic(err)
	}
	return nil, &Answer{Status: refusal.Status, Header: http.Header{"Content-Type": contentJSON}, Body: text, Next: Final}, nil
}

// codeModelReplaced is the code of a line that the guardrail has replaced by one for another
// model.
const codeModelReplaced = "guardrail_model_replaced"

// isFor reports whether a body names the model, and no other.
func isFor(body []byte, model string) bool {
	named, _, err := openai.PeekModel(body)
	if err != nil || named != model {
		return false
	}
	n, ok := openai.CountMembers(body, "model")
	return ok && n == 1
}

// undecided returns nil if the guardrail fails open, or else the error for the client.
func (p *Pool) undecided(s *snapshot, class Class, rt *route, err error) error {
	open := s.cfg.Guardrail.FailOpen
	if why := err.Error(); p.decisions.failure.Swap(&why) == nil { // once until it decides again
		p.log.Warn("guardrail unavailable", zap.Stringer("class", class), zap.String("endpoint", rt.path), zap.Bool("requests_are_sent", open), zap.Error(err))
	}
	if open {
		p.decisions.counts[class][undecidedPassed].Add(1)
		return nil
	}
	p.decisions.counts[class][undecidedRefused].Add(1)
	return openai.Unavailable(guardrailRetry, "This gateway's guardrail does not respond, and without it no request is sent.").WithCause(err)
}

// count counts a decision.
func (p *Pool) count(class Class, d guardrail.Decision) {
	if p.decisions.failure.Load() != nil && p.decisions.failure.Swap(nil) != nil {
		p.log.Info("guardrail available again")
	}
	p.decisions.counts[class][decisions[d.Action]].Add(1)
}

// rejection returns the error for a rejected request.
func rejection(d guardrail.Decision) *openai.Error {
	e := openai.InvalidRequest("", d.Code, "%s", d.Message)
	e.NoRetry = true
	return e
}

var descGuardrail = prometheus.NewDesc("tidegate_guardrail_requests_total", "Requests that the guardrail had to decide about, by decision; failed_open and failed_closed: it made no decision, and the request was sent or refused.", []string{"class", "decision"}, nil)

var guardrailDescs = []*prometheus.Desc{descGuardrail}

// collectGuardrail collects the decisions that were made.
func collectGuardrail(counts *[2][decisionKinds]atomic.Int64, counter func(d *prometheus.Desc, v int64, labels ...string)) {
	for _, class := range []Class{Live, Batch} {
		for kind := range counts[class] {
			if n := counts[class][kind].Load(); n > 0 {
				counter(descGuardrail, n, class.String(), decisionNames[kind])
			}
		}
	}
}
