package limits

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/money"
)

// Client is the key and the tenant of a request, whose limits apply to it.
type Client struct {
	Key    string // id; "" for a client without a key
	Tenant string
}

// Of returns the client of an identity.
func Of(id access.Identity) Client { return Client{id.KeyID, id.Tenant} }

// Config are the limits.
type Config struct {
	Tenants map[string]access.Limits
	// Keys returns the limits of a key by its id. Nil: keys have none.
	Keys func(id string) access.Limits
	// Limited returns the valid keys that have limits. Nil: none.
	Limited func() []Client
	// Budgeted returns the keys whose limits have budgets. Nil: none.
	Budgeted func() []Client
	// Price returns the cost of tokens of a live request. Nil: they cost nothing.
	Price func(model string, input, output int64) money.Amount
}

// Limiter enforces limits. A nil Limiter limits nothing. Methods are safe for concurrent
// use.
type Limiter struct {
	now     func() time.Time
	config  atomic.Pointer[Config]
	refused [kinds]atomic.Int64 // requests and batches by the limit that they reached
	waited  atomic.Int64        // attempts to start a line that a limit postponed

	mu       sync.Mutex // guards what follows
	accounts map[owner]*account
	budgets  budgets
	gateways int
	changed  bool // since the last Save
}

// New returns a limiter without limits. now is the clock, time.Now if nil.
func New(now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{now: now, accounts: make(map[owner]*account), gateways: 1}
}

// Apply sets the limits. What was used before counts.
func (l *Limiter) Apply(c Config) { l.config.Store(&c) }

// SetGateways sets the number of gateways that share the limits. This one enforces its
// part of each.
func (l *Limiter) SetGateways(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gateways = max(1, n)
}

// limits returns the limits of a client's key and of its tenant.
func (l *Limiter) limits(c Client) (key, tenant access.Limits) {
	if l == nil {
		return key, tenant
	}
	if c.Key != "" {
		key = l.limitsOf(owner{name: c.Key})
	}
	return key, l.limitsOf(owner{tenant: true, name: c.Tenant})
}

// limitsOf returns the limits of a key or a tenant.
func (l *Limiter) limitsOf(o owner) access.Limits {
	config := l.config.Load()
	switch {
	case config == nil:
		return access.Limits{}
	case o.tenant:
		return config.Tenants[o.name]
	case config.Keys == nil:
		return access.Limits{}
	default:
		return config.Keys(o.name)
	}
}

// Limited reports whether requests of a client are limited.
func (l *Limiter) Limited(c Client) bool {
	key, tenant := l.limits(c)
	return key.Requests() || tenant.Requests()
}

// Estimate returns what a live request may use.
func (l *Limiter) Estimate(model string, input, output int64) Spend {
	s := Spend{Tokens: input + output}
	if config := l.config.Load(); config != nil && config.Price != nil {
		s.Cost = config.Price(model, input, output)
	}
	return s
}

// Admit takes a live request from the limits of its client, with an estimate of what it
// will use. It returns nil for both if the client has no limits.
func (l *Limiter) Admit(c Client, want Spend) (*Grant, *ReachedError) {
	g, r := l.take(c, want)
	if r != nil {
		l.refused[r.Kind].Add(1)
	}
	return g, r
}

// TakeLine is Admit for a line of a batch, which waits if it is refused.
func (l *Limiter) TakeLine(c Client, want Spend) (*Grant, *ReachedError) {
	g, r := l.take(c, want)
	if r != nil {
		l.waits(r)
	}
	return g, r
}

// lineRetry is the longest time after which a line that waits for a budget is tried again.
const lineRetry = 10 * time.Second

// waits counts that a line waits, and keeps the reason if it is a budget: another line may
// fit.
func (l *Limiter) waits(r *ReachedError) {
	l.waited.Add(1)
	if !r.Exhausted() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[r.owner]; a != nil {
		a.waiting = waiting{r.reason(), l.now().Add(lineRetry)}
	}
}

func (l *Limiter) take(c Client, want Spend) (*Grant, *ReachedError) {
	key, tenant := l.limits(c)
	if !key.Requests() && !tenant.Requests() {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	accounts := l.of(c, key, tenant, access.Limits.Requests, l.now())
	rates, refusal := l.check(accounts, want)
	if refusal != nil {
		return nil, refusal
	}
	g := &Grant{limiter: l, client: c, accounts: accounts, tokens: float64(want.Tokens), held: want}
	l.changed = true
	for _, a := range accounts {
		a.inFlight++
		a.waiting = waiting{}
		l.budgets.reserve(a.owner, want, 1)
	}
	for i := range rates {
		rates[i].bucket.level -= rates[i].n
	}
	g.report = reportOf(rates)
	return g, nil
}

// LineRefused returns the limit that every line of a client reaches now, nil for none. It
// takes nothing.
func (l *Limiter) LineRefused(c Client) *ReachedError {
	key, tenant := l.limits(c)
	if !key.Requests() && !tenant.Requests() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, refusal := l.check(l.of(c, key, tenant, access.Limits.Requests, l.now()), Spend{Tokens: 1})
	if refusal != nil {
		l.waited.Add(1)
	}
	return refusal
}

// check returns the rates of accounts, and the limit that a request reaches, nil for none.
// The caller holds mu.
func (l *Limiter) check(accounts []*account, want Spend) (rates []rate, refusal *ReachedError) {
	now := l.now()
	for _, a := range accounts {
		if a.crowded(l.gateways) {
			refusal = refusal.orLonger(ReachedError{Kind: RequestsInFlight, owner: a.owner, Limit: a.limits.RequestsInFlight, Wait: inFlightWait})
		}
		if over := l.budgets.check(a.owner, a.limits, want, now); over != nil {
			refusal = refusal.orLonger(*over)
		}
		own := a.rates(want.Tokens, l.gateways, now)
		for i := range own {
			if wait := own[i].wait(); wait > 0 {
				refusal = refusal.orLonger(ReachedError{Kind: own[i].kind, owner: a.owner, Limit: own[i].limit, Wait: wait})
			}
		}
		rates = append(rates, own...)
	}
	if refusal != nil {
		refusal.report = reportOf(rates)
	}
	return rates, refusal
}

// Reached returns which limit by time, or which budget, keeps lines of a client waiting now,
// "" for none.
func (l *Limiter) Reached(c Client) string {
	key, tenant := l.limits(c)
	if !key.Requests() && !tenant.Requests() {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, a := range l.of(c, key, tenant, access.Limits.Requests, now) {
		if over := l.budgets.check(a.owner, a.limits, Spend{}, now); over != nil && over.Exhausted() {
			return over.reason()
		}
		if a.limits.Budget() && now.Before(a.waiting.until) {
			return a.waiting.reason
		}
		for _, r := range a.rates(1, l.gateways, now) {
			if r.wait() > 0 {
				return fmt.Sprintf("limit of the %s: %s is %d", a.owner.kind(), r.kind, r.limit)
			}
		}
	}
	return ""
}

// inFlightWait is the pause after which a request that found too many in flight is tried
// again: when one of them ends is not known.
const inFlightWait = time.Second

// of returns the accounts of a client's key and tenant, of those whose limits count.
func (l *Limiter) of(c Client, key, tenant access.Limits, counts func(access.Limits) bool, now time.Time) (list []*account) {
	if counts(key) {
		list = append(list, l.account(owner{name: c.Key}, key, now))
	}
	if counts(tenant) {
		list = append(list, l.account(owner{tenant: true, name: c.Tenant}, tenant, now))
	}
	return list
}

func (l *Limiter) account(o owner, limits access.Limits, now time.Time) *account {
	a := l.accounts[o]
	if a == nil {
		a = &account{owner: o}
		l.accounts[o] = a
	}
	a.limits, a.used = limits, now
	return a
}

// TakeBatch counts a new batch, and refuses it if a budget is used up. undo takes that back, because the batch was not made.
func (l *Limiter) TakeBatch(c Client) (undo func(), refused *ReachedError) {
	key, tenant := l.limits(c)
	counts := func(limits access.Limits) bool { return limits.BatchesPerHour > 0 || limits.Budget() }
	if !counts(key) && !counts(tenant) {
		return func() {}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	var rates []rate
	for _, a := range l.of(c, key, tenant, counts, now) {
		if over := l.budgets.check(a.owner, a.limits, Spend{}, now); over != nil && over.Exhausted() {
			refused = refused.orLonger(*over)
		}
		for _, r := range a.batchRate(l.gateways, now) {
			if wait := r.wait(); wait > 0 {
				refused = refused.orLonger(ReachedError{Kind: BatchesPerHour, owner: a.owner, Limit: r.limit, Wait: wait})
			}
			rates = append(rates, r)
		}
	}
	if refused != nil {
		l.refused[refused.Kind].Add(1)
		return nil, refused
	}
	l.changed = true
	for i := range rates {
		rates[i].bucket.level--
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed = true
		for i := range rates {
			rates[i].bucket.level++
		}
	}, nil
}

// QueueLimit limits the waiting lines of batches of a key or of a tenant.
type QueueLimit struct {
	Tenant        string
	Key           string // "" for all batches of the tenant
	Lines, Tokens int64  // 0: no limit
}

// Queue returns the limits of waiting lines of a client.
func (l *Limiter) Queue(c Client) (list []QueueLimit) {
	key, tenant := l.limits(c)
	if key.LinesQueued > 0 || key.TokensQueued > 0 {
		list = append(list, QueueLimit{c.Tenant, c.Key, key.LinesQueued, key.TokensQueued})
	}
	if tenant.LinesQueued > 0 || tenant.TokensQueued > 0 {
		list = append(list, QueueLimit{c.Tenant, "", tenant.LinesQueued, tenant.TokensQueued})
	}
	return list
}
