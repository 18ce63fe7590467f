package limits

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/internal/money"
)

// Grant is the right to one request. A nil Grant is of a client without limits.
type Grant struct {
	limiter  *Limiter
	client   Client
	accounts []*account
	tokens   float64 // reserved
	held     Spend   // reserved from budgets; guarded by the limiter's mu
	ended    bool    // guarded by the limiter's mu
	report   report
}

// Outcome is the end of a request, and the tokens that it used.
type Outcome struct {
	Sent   bool  // a server may have received it
	Failed bool  // it has no answer, or an error as answer
	Known  bool  // Tokens is known
	Tokens int64 // that it used
	// Result has the use of a line of a batch, if its result is not in the store yet. It
	// stays reserved from budgets until Stored.
	Result *Spend
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
	g.hold(o.Result)
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

// hold replaces what is reserved from budgets. The caller holds the limiter's mu.
func (g *Grant) hold(s *Spend) {
	for _, a := range g.accounts {
		g.limiter.budgets.reserve(a.owner, g.held, -1)
	}
	g.held = Spend{}
	if s == nil {
		return
	}
	g.held = *s
	for _, a := range g.accounts {
		g.limiter.budgets.reserve(a.owner, g.held, 1)
	}
}

// Stored reports whether the store has the result of a line: then it counts as used, else
// not at all.
func (g *Grant) Stored(stored bool) {
	if g == nil {
		return
	}
	g.limiter.mu.Lock()
	defer g.limiter.mu.Unlock()
	used := g.held
	g.hold(nil)
	if stored && used != (Spend{}) {
		g.limiter.budgets.turn(g.limiter.now())
		add(&g.limiter.budgets.fresh, g.client, used)
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
	Limit int64         // of CostPerMonth in units of money.Amount
	Wait  time.Duration // until a retry can succeed

	owner  owner
	report report

	// Of a budget:
	used    int64
	renewed time.Time
	busy    bool // requests in flight have reserved what is left
}

// Exhausted reports whether a budget has not enough left: it is renewed with the month.
func (r *ReachedError) Exhausted() bool { return r.budget() && !r.busy }

// InFlight reports whether the end of a request in flight may be enough for a retry.
func (r *ReachedError) InFlight() bool { return r.Kind == RequestsInFlight || r.busy }

func (r *ReachedError) budget() bool { return r.Kind == TokensPerMonth || r.Kind == CostPerMonth }

// amount returns an amount of a budget as it is configured.
func (r *ReachedError) amount(n int64) string {
	if r.Kind == CostPerMonth {
		return money.Amount(n).String()
	}
	return strconv.FormatInt(n, 10)
}

// reason returns why a batch waits.
func (r *ReachedError) reason() string {
	return fmt.Sprintf("budget of the %s: %s is %s, %s used, renewed at %s", r.owner.kind(), r.Kind, r.amount(r.Limit), r.amount(r.used), r.renewed.Format(time.RFC3339))
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
	switch {
	case r.busy:
		return fmt.Sprintf("The rest of the budget of the %s is reserved for requests in flight: %s is %s, and %s is used. Please try again in %s.", r.owner, r.Kind, r.amount(r.Limit), r.amount(r.used), duration(r.Wait))
	case r.budget() && r.used >= r.Limit:
		return fmt.Sprintf("You exceeded your current quota: %s of the %s is %s, and %s is used. It is renewed at %s.", r.Kind, r.owner, r.amount(r.Limit), r.amount(r.used), r.renewed.Format(time.RFC3339))
	case r.budget():
		return fmt.Sprintf("Your current quota is not enough for what this request may use: %s of the %s is %s, and %s is used. It is renewed at %s. A request with a smaller output limit may fit.", r.Kind, r.owner, r.amount(r.Limit), r.amount(r.used), r.renewed.Format(time.RFC3339))
	}
	return fmt.Sprintf("Rate limit reached for the %s: %s is %d. Please try again in %s.", r.owner, r.Kind, r.Limit, duration(r.Wait))
}

// Header sets the headers x-ratelimit-* and Retry-After-Ms, which OpenAI's libraries read
// before Retry-After.
func (r *ReachedError) Header(h http.Header) {
	r.report.header(h)
	if r.Exhausted() { // weeks are too long for the timers of clients
		return
	}
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
