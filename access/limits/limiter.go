package limits

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/access"
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

// Admit takes a live request with an estimated number of tokens from the limits of its
// client. It returns nil for both if the client has no limits.
func (l *Limiter) Admit(c Client, tokens int64) (*Grant, *ReachedError) {
	g, r := l.take(c, tokens)
	if r != nil {
		l.refused[r.Kind].Add(1)
	}
	return g, r
}

// TakeLine is Admit for a line of a batch, which waits if it is refused.
func (l *Limiter) TakeLine(c Client, tokens int64) (*Grant, *ReachedError) {
	g, r := l.take(c, tokens)
	if r != nil {
		l.waited.Add(1)
	}
	return g, r
}

func (l *Limiter) take(c Client, tokens int64) (*Grant, *ReachedError) {
	key, tenant := l.limits(c)
	if !key.Requests() && !tenant.Requests() {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	accounts := l.of(c, key, tenant, access.Limits.Requests, l.now())
	rates, refusal := l.check(accounts, tokens)
	if refusal != nil {
		return nil, refusal
	}
	g := &Grant{limiter: l, accounts: accounts, tokens: float64(tokens)}
	l.changed = true
	for _, a := range accounts {
		a.inFlight++
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
	_, refusal := l.check(l.of(c, key, tenant, access.Limits.Requests, l.now()), 1)
	if refusal != nil {
		l.waited.Add(1)
	}
	return refusal
}

// check returns the rates of accounts, and the limit that a request with a number of tokens
// reaches, nil for none. The caller holds mu.
func (l *Limiter) check(accounts []*account, tokens int64) (rates []rate, refusal *ReachedError) {
	now := l.now()
	for _, a := range accounts {
		if a.crowded(l.gateways) {
			refusal = refusal.orLonger(ReachedError{Kind: RequestsInFlight, owner: a.owner, Limit: a.limits.RequestsInFlight, Wait: inFlightWait})
		}
		own := a.rates(tokens, l.gateways, now)
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

// Reached returns which limit by time a client has reached now, "" for none.
func (l *Limiter) Reached(c Client) string {
	key, tenant := l.limits(c)
	if !key.Requests() && !tenant.Requests() {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, a := range l.of(c, key, tenant, access.Limits.Requests, now) {
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

// TakeBatch counts a new batch. undo takes that back, because the batch was not made.
func (l *Limiter) TakeBatch(c Client) (undo func(), refused *ReachedError) {
	key, tenant := l.limits(c)
	counts := func(limits access.Limits) bool { return limits.BatchesPerHour > 0 }
	if !counts(key) && !counts(tenant) {
		return func() {}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	var rates []rate
	for _, a := range l.of(c, key, tenant, counts, now) {
		rates = append(rates, a.batchRate(l.gateways, now)...)
		r := &rates[len(rates)-1]
		if wait := r.wait(); wait > 0 {
			refused = refused.orLonger(ReachedError{Kind: BatchesPerHour, owner: a.owner, Limit: r.limit, Wait: wait})
		}
	}
	if refused != nil {
		l.refused[BatchesPerHour].Add(1)
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
