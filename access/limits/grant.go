package limits

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Grant is the right to one request. A nil Grant is of a client without limits.
type Grant struct {
	limiter  *Limiter
	accounts []*account
	tokens   float64 // reserved
	ended    bool    // guarded by the limiter's mu
	report   report
}

// Outcome is the end of a request, and the tokens that it used.
type Outcome struct {
	Sent   bool  // a server may have received it
	Failed bool  // it has no answer, or an error as answer
	Known  bool  // Tokens is known
	Tokens int64 // that it used
}

// End returns what the request has not used. A request that was not sent is refunded
// completely, the tokens of one that failed are refunded, and the estimate of others is
// replaced by the tokens that they used, if these are known.
func (g *Grant) End(o Outcome) {
	if g == nil {
		return
	}
	g.limiter.mu.Lock()
	defer g.limiter.mu.Unlock()
	if g.ended {
		return
	}
	g.ended, g.limiter.changed = true, true
	back := 0.0
	switch {
	case o.Known:
		back = g.tokens - float64(o.Tokens)
	case !o.Sent || o.Failed:
		back = g.tokens
	}
	for _, a := range g.accounts {
		a.inFlight--
		if !a.tokens.at.IsZero() {
			a.tokens.level += back
		}
		if !o.Sent && !a.requests.at.IsZero() {
			a.requests.level++
		}
	}
}

// Header sets the headers x-ratelimit-*
// (https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers).
func (g *Grant) Header(h http.Header) {
	if g != nil {
		g.report.header(h)
	}
}

// ReachedError is the error for a limit that was reached.
type ReachedError struct {
	Kind  Kind
	Limit int64
	Wait  time.Duration // until a retry can succeed

	owner  owner
	report report
}

// orLonger returns the refusal whose limit takes longer to recover.
func (r *ReachedError) orLonger(other ReachedError) *ReachedError {
	if r != nil && r.Wait >= other.Wait {
		return r
	}
	return &other
}

// Error returns the reason, as the client gets it.
func (r *ReachedError) Error() string {
	return fmt.Sprintf("Rate limit reached for the %s: %s is %d. Please try again in %s.", r.owner, r.Kind, r.Limit, duration(r.Wait))
}

// Header sets the headers x-ratelimit-* and Retry-After-Ms, which OpenAI's libraries read
// before Retry-After.
func (r *ReachedError) Header(h http.Header) {
	r.report.header(h)
	h.Set("Retry-After-Ms", strconv.FormatInt(max(1, r.Wait.Milliseconds()), 10))
}

// report is the state of the rates of a client, of each kind that with the least left.
type report [2]struct {
	limit, remaining int64
	reset            time.Duration
}

func reportOf(rates []rate) (p report) {
	for i := range rates {
		r := &rates[i]
		left := int64(math.Floor(max(0, r.bucket.level) + 1e-6))
		if of := &p[r.kind]; of.limit == 0 || left < of.remaining {
			of.limit, of.remaining, of.reset = r.limit, left, r.bucket.untilFull(r.capacity, r.per)
		}
	}
	return p
}

func (p *report) header(h http.Header) {
	for kind, name := range [...]string{RequestsPerMinute: "Requests", TokensPerMinute: "Tokens"} {
		of := p[kind]
		if of.limit == 0 {
			continue
		}
		h.Set("X-Ratelimit-Limit-"+name, strconv.FormatInt(of.limit, 10))
		h.Set("X-Ratelimit-Remaining-"+name, strconv.FormatInt(of.remaining, 10))
		h.Set("X-Ratelimit-Reset-"+name, duration(of.reset))
	}
}

// duration returns a duration as OpenAI writes it, such as 6m0s or 17ms.
func duration(d time.Duration) string { return d.Round(time.Millisecond).String() }
