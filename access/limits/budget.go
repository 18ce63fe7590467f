package limits

import (
	"strconv"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/money"
	"github.com/tidegate/tidegate/internal/saturate"
)

// Spend is a use of budgets.
type Spend struct {
	Tokens int64
	Cost   money.Amount
}

// plus returns the sum. It saturates.
func (s Spend) plus(o Spend) Spend {
	return Spend{saturate.Add(s.Tokens, o.Tokens), s.Cost.Plus(o.Cost)}
}

// ClientSpend is the use of a month by a key in a tenant.
type ClientSpend struct {
	Client
	Spend
}

// budgets is the use of budgets in a month. The limiter's mu guards it. The use of an owner
// is the sum of stored, moving and fresh; reserved is what requests in flight may add.
//
// The truth is the usage in the store, which a read replaces stored with. What this gateway
// used is in fresh until a read contains it.
type budgets struct {
	month    time.Time // its start; all maps but reserved are of this month
	read     bool      // stored is known
	reading  bool
	stored   map[owner]Spend
	moving   map[owner]Spend // that the read which runs will contain
	fresh    map[owner]Spend // that it will not
	reserved map[owner]Spend
}

// monthOf returns the start of the calendar month of a time, in UTC.
func monthOf(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
}

// nextMonth returns the end of the month.
func (b *budgets) nextMonth() time.Time { return b.month.AddDate(0, 1, 0) }

// turn begins a new month: the store has no use in it. Use that is not stored yet will be
// stored in it. A clock that is set back begins no month.
func (b *budgets) turn(now time.Time) {
	if month := monthOf(now); month.After(b.month) {
		b.month, b.stored = month, nil
	}
}

func (b *budgets) used(o owner) Spend {
	return b.stored[o].plus(b.moving[o]).plus(b.fresh[o])
}

func owners(c Client) []owner {
	list := []owner{{tenant: true, name: c.Tenant}}
	if c.Key != "" {
		list = append(list, owner{name: c.Key})
	}
	return list
}

// add adds to the use of a client's key and tenant.
func add(to *map[owner]Spend, c Client, s Spend) {
	if *to == nil {
		*to = make(map[owner]Spend)
	}
	for _, o := range owners(c) {
		(*to)[o] = (*to)[o].plus(s)
	}
}

// Spent counts what a client has used and what is not in the store yet.
func (l *Limiter) Spent(c Client, s Spend) {
	if s == (Spend{}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budgets.turn(l.now())
	add(&l.budgets.fresh, c, s)
}

// Budgeted returns the tenants and keys that have budgets, tenants without a key.
func (l *Limiter) Budgeted() (list []Client) {
	config := l.config.Load()
	if config == nil {
		return nil
	}
	for name, t := range config.Tenants {
		if t.Budget() {
			list = append(list, Client{Tenant: name})
		}
	}
	if config.Budgeted != nil {
		list = append(list, config.Budgeted()...)
	}
	return list
}

// BeginRead begins a read of the use of the present month from the store, which will contain
// all that was counted by Spent before. It returns the start of the month. EndRead must
// follow.
func (l *Limiter) BeginRead() (month time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.budgets
	b.turn(l.now())
	b.merge()
	b.moving, b.fresh, b.reading = b.fresh, nil, true
	return b.month
}

// merge ends a read that did not succeed: what it would have contained remains counted.
func (b *budgets) merge() {
	for o, s := range b.moving {
		if b.fresh == nil {
			b.fresh = make(map[owner]Spend)
		}
		b.fresh[o] = b.fresh[o].plus(s)
	}
	b.moving, b.reading = nil, false
}

// EndRead ends a read: list is the use of all clients in a month, unless the read failed.
func (l *Limiter) EndRead(month time.Time, list []ClientSpend, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.budgets
	b.turn(l.now())
	if err != nil || !b.reading || !month.Equal(b.month) {
		b.merge()
		return
	}
	b.stored = make(map[owner]Spend, len(list))
	for _, s := range list {
		add(&b.stored, s.Client, s.Spend)
	}
	b.moving, b.reading, b.read = nil, false, true
}

// busyWait is the pause after which a request is tried again that does not fit into what
// requests in flight leave of a budget.
const busyWait = time.Second

// check returns the budget of an owner that a request exceeds, nil for none.
func (b *budgets) check(o owner, limits access.Limits, want Spend, now time.Time) (refusal *ReachedError) {
	if !limits.Budget() {
		return nil
	}
	b.turn(now)
	used, reserved := b.used(o), b.reserved[o]
	for _, m := range []struct {
		kind                        Kind
		limit, used, reserved, want int64
	}{
		{TokensPerMonth, limits.TokensPerMonth, used.Tokens, reserved.Tokens, want.Tokens},
		{CostPerMonth, int64(limits.CostPerMonth), int64(used.Cost), int64(reserved.Cost), int64(want.Cost)},
	} {
		if m.limit <= 0 {
			continue
		}
		reached := ReachedError{Kind: m.kind, owner: o, Limit: m.limit, used: m.used, renewed: b.nextMonth()}
		switch left := m.limit - m.used; {
		case left <= 0 || m.want > left:
			reached.Wait = max(busyWait, b.nextMonth().Sub(now))
		case m.reserved >= left || m.want > left-m.reserved:
			reached.busy, reached.Wait = true, busyWait
		default:
			continue
		}
		refusal = refusal.orLonger(reached)
	}
	return refusal
}

// reserve adds to what requests in flight may use, or subtracts.
func (b *budgets) reserve(o owner, s Spend, sign int64) {
	if s == (Spend{}) {
		return
	}
	if b.reserved == nil {
		b.reserved = make(map[owner]Spend)
	}
	now := b.reserved[o]
	now.Tokens += sign * s.Tokens
	now.Cost += money.Amount(sign) * s.Cost
	if now == (Spend{}) {
		delete(b.reserved, o)
		return
	}
	b.reserved[o] = now
}

// Budget is a limit by month and its use.
type Budget struct {
	Limit     Quantity `json:"limit"`
	Used      Quantity `json:"used"`
	Reserved  Quantity `json:"reserved"` // by requests in flight
	Remaining Quantity `json:"remaining"`
	// Complete reports whether Used contains what other gateways, and this one before its
	// start, have used.
	Complete  bool      `json:"complete"`
	RenewedAt time.Time `json:"renewed_at"`
}

// Quantity is a number of tokens or an amount of money.
type Quantity struct {
	n     int64
	money bool
}

// Short returns the number, an amount of money rounded for readers.
func (q Quantity) Short() string {
	if q.money {
		return money.Amount(q.n).Short()
	}
	return q.String()
}

// String returns the number without rounding.
func (q Quantity) String() string {
	if q.money {
		return money.Amount(q.n).String()
	}
	return strconv.FormatInt(q.n, 10)
}

// Count returns a number of tokens, and false for an amount of money.
func (q Quantity) Count() (int64, bool) { return q.n, !q.money }

// MarshalJSON writes a number.
func (q Quantity) MarshalJSON() ([]byte, error) { return []byte(q.String()), nil }

// Part returns q as a part of another quantity, from 0 to 1.
func (q Quantity) Part(of Quantity) float64 {
	if of.n <= 0 {
		return 0
	}
	return min(1, float64(q.n)/float64(of.n))
}

// list returns the budgets of an owner by their names, nil for none.
func (b *budgets) list(o owner, limits access.Limits, now time.Time) (all map[string]Budget) {
	b.turn(now)
	used, reserved := b.used(o), b.reserved[o]
	put := func(kind Kind, limit, used, reserved int64) {
		if limit <= 0 {
			return
		}
		if all == nil {
			all = make(map[string]Budget)
		}
		isMoney := kind == CostPerMonth
		all[kind.String()] = Budget{
			Limit: Quantity{limit, isMoney}, Used: Quantity{used, isMoney}, Reserved: Quantity{reserved, isMoney},
			Remaining: Quantity{max(0, limit-used), isMoney}, Complete: b.read, RenewedAt: b.nextMonth(),
		}
	}
	put(TokensPerMonth, limits.TokensPerMonth, used.Tokens, reserved.Tokens)
	put(CostPerMonth, int64(limits.CostPerMonth), int64(used.Cost), int64(reserved.Cost))
	return all
}
