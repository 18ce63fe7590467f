package limits

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/money"
)

func tokens(n int64) Spend { return Spend{Tokens: n} }

func TestBudget(t *testing.T) {
	for _, tt := range []struct {
		name        string
		key, tenant access.Limits
		stored      []ClientSpend
		spent       Spend // by teamKey, since
		reserved    Spend // by a request of teamKey in flight
		want        Spend
		kind        Kind // of the refusal
		exhausted   bool
		admitted    bool
	}{
		{name: "unused", key: access.Limits{TokensPerMonth: 100}, want: tokens(100), admitted: true},
		{name: "more than the budget", key: access.Limits{TokensPerMonth: 100}, want: tokens(101), kind: TokensPerMonth, exhausted: true},
		{name: "what is left", key: access.Limits{TokensPerMonth: 100}, spent: tokens(60), want: tokens(40), admitted: true},
		{name: "more than what is left", key: access.Limits{TokensPerMonth: 100}, spent: tokens(60), want: tokens(41), kind: TokensPerMonth, exhausted: true},
		{name: "no estimate", key: access.Limits{TokensPerMonth: 100}, spent: tokens(99), admitted: true},
		{name: "used up without an estimate", key: access.Limits{TokensPerMonth: 100}, spent: tokens(100), kind: TokensPerMonth, exhausted: true},
		{name: "used by earlier processes", key: access.Limits{TokensPerMonth: 100}, stored: []ClientSpend{{teamKey, tokens(60)}}, spent: tokens(40), want: tokens(1), kind: TokensPerMonth, exhausted: true},
		{name: "of the tenant, by another key", tenant: access.Limits{TokensPerMonth: 100}, stored: []ClientSpend{{Client{"key_b", "team"}, tokens(60)}, {Client{"", "team"}, tokens(40)}}, want: tokens(1), kind: TokensPerMonth, exhausted: true},
		{name: "other clients", key: access.Limits{TokensPerMonth: 100}, stored: []ClientSpend{{Client{"key_b", "team"}, tokens(100)}, {Client{"", "other"}, tokens(100)}}, want: tokens(100), admitted: true},
		{name: "the key in another tenant", key: access.Limits{TokensPerMonth: 100}, stored: []ClientSpend{{Client{"key_a", "before"}, tokens(100)}}, want: tokens(1), kind: TokensPerMonth, exhausted: true},
		{name: "reserved", key: access.Limits{TokensPerMonth: 100}, spent: tokens(10), reserved: tokens(60), want: tokens(31), kind: TokensPerMonth},
		{name: "reserved, but enough left", key: access.Limits{TokensPerMonth: 100}, spent: tokens(10), reserved: tokens(60), want: tokens(30), admitted: true},
		{name: "reserved and never enough", key: access.Limits{TokensPerMonth: 100}, spent: tokens(10), reserved: tokens(60), want: tokens(91), kind: TokensPerMonth, exhausted: true},
		{name: "cost", key: access.Limits{CostPerMonth: money.Unit}, spent: Spend{Tokens: 1, Cost: money.Unit - 1}, want: Spend{Cost: 2}, kind: CostPerMonth, exhausted: true},
		{name: "all of the cost", key: access.Limits{CostPerMonth: money.Unit}, spent: Spend{Tokens: 1, Cost: money.Unit - 1}, want: Spend{Cost: 1}, admitted: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(tt.key, tt.tenant)
				l.EndRead(l.BeginRead(), tt.stored, nil)
				l.Spent(teamKey, tt.spent)
				if tt.reserved != (Spend{}) {
					if _, r := l.Admit(teamKey, tt.reserved); r != nil {
						t.Fatal(r.Error())
					}
				}
				g, r := l.Admit(teamKey, tt.want)
				if tt.admitted {
					if r != nil || g == nil {
						t.Fatalf("got %v, want the request to be admitted", r)
					}
					return
				}
				if r == nil || r.Kind != tt.kind || r.Exhausted() != tt.exhausted {
					t.Fatalf("got %+v, want a refusal by %s, exhausted %t", r, tt.kind, tt.exhausted)
				}
				if month := 31 * 24 * time.Hour; tt.exhausted && r.Wait != month || !tt.exhausted && r.Wait > time.Minute {
					t.Errorf("got a wait of %s, want %s or a short one", r.Wait, month) // the clock begins with a month
				}
				_, refused := l.TakeBatch(teamKey)
				if usedUp := tt.exhausted && strings.Contains(r.Error(), "exceeded"); (refused != nil) != usedUp {
					t.Errorf("new batch: got %v, want it refused: %t", refused, usedUp)
				}
			})
		})
	}
}

// Parallel clients do not use more than the budget, and all of it.
func TestBudgetInParallel(t *testing.T) {
	const clients, budget, each = 50, 10_000, 7
	l := newLimiter(access.Limits{TokensPerMonth: budget}, access.Limits{})
	var used atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for {
				g, r := l.Admit(teamKey, tokens(2*each)) // an estimate
				if r != nil && r.Exhausted() {
					return
				}
				if r != nil {
					continue
				}
				used.Add(each)
				l.Spent(teamKey, tokens(each))
				g.End(Outcome{Sent: true, Known: true, Tokens: each})
			}
		})
	}
	all.Wait()
	if got := used.Load(); got > budget || got < budget-2*each {
		t.Errorf("got %d tokens used, want up to %d and all but one estimate of them", got, budget)
	}
}

// A budget is renewed when a month begins in UTC, wherever the gateway is.
func TestBudgetIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := time.FixedZone("", 5*60*60)
		l := New(func() time.Time { return time.Now().In(zone) })
		l.Apply(Config{Tenants: map[string]access.Limits{"team": {TokensPerMonth: 100}}})
		l.EndRead(l.BeginRead(), []ClientSpend{{teamKey, tokens(100)}}, nil)
		february := time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC)
		for _, at := range []time.Time{february.Add(-time.Second), february.Add(-time.Millisecond)} {
			time.Sleep(time.Until(at))
			_, r := l.Admit(teamKey, tokens(1))
			if r == nil || r.Wait < time.Until(february) {
				t.Fatalf("at %s: got %+v, want a refusal until the month ends", at, r)
			}
		}
		late := l.BeginRead() // it ends in the next month
		time.Sleep(time.Until(february))
		l.EndRead(late, []ClientSpend{{teamKey, tokens(100)}}, nil)
		g, r := l.Admit(teamKey, tokens(100))
		if r != nil {
			t.Fatalf("in february: got %v, want the budget renewed", r)
		}
		g.End(Outcome{Sent: true})
		if month := l.BeginRead(); !month.Equal(february) {
			t.Errorf("got a read of %s, want %s", month, february)
		}
		l.EndRead(february, []ClientSpend{{teamKey, tokens(99)}}, nil)
		if _, r := l.Admit(teamKey, tokens(2)); r == nil {
			t.Error("got a request admitted, want the use of february to count")
		}
	})
}

// What was counted before a read is counted once after it, and still counted if the read
// fails; what is counted during it remains.
func TestBudgetReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(access.Limits{TokensPerMonth: 1000}, access.Limits{})
		used := func() string {
			for _, u := range l.Usage() {
				if u.Key == teamKey.Key {
					b := u.Budgets["tokens_per_month"]
					return b.Used.String()
				}
			}
			return "none"
		}
		want := func(when, n string) {
			t.Helper()
			if got := used(); got != n {
				t.Errorf("%s: got %s used, want %s", when, got, n)
			}
		}
		_, _ = l.Admit(teamKey, Spend{})
		l.Spent(teamKey, tokens(10))
		want("before a read", "10")
		month := l.BeginRead()
		want("during a read", "10")
		l.Spent(teamKey, tokens(5))
		l.EndRead(month, nil, errors.New("the store is away"))
		want("after a failed read", "15")
		month = l.BeginRead()
		l.Spent(teamKey, tokens(1))
		l.EndRead(month, []ClientSpend{{teamKey, tokens(115)}}, nil)
		want("after a read", "116")
		month = l.BeginRead()
		l.BeginRead() // another one that never ends
		l.EndRead(month, []ClientSpend{{teamKey, tokens(116)}}, nil)
		want("after another read", "116")

		g, _ := l.Admit(teamKey, tokens(500))
		g.End(Outcome{Sent: true, Known: true, Tokens: 20, Result: &Spend{Tokens: 20}})
		want("before the result of a line is stored", "116")
		if _, r := l.Admit(teamKey, tokens(865)); r == nil || r.Exhausted() {
			t.Errorf("got %v, want a refusal by what is reserved", r)
		}
		g.Stored(true)
		want("after the result of a line is stored", "136")
		g.Stored(true)
		want("stored twice", "136")
		g, _ = l.Admit(teamKey, tokens(500))
		g.End(Outcome{Sent: true, Known: true, Tokens: 20, Result: &Spend{Tokens: 20}})
		g.Stored(false)
		want("after a refused result", "136")
		if _, r := l.Admit(teamKey, tokens(864)); r != nil {
			t.Errorf("got %v, want nothing reserved", r)
		}
	})
}

// The use is not known before the first read. Then only what this gateway has used counts.
func TestUnknownBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil)
		l.Apply(Config{
			Keys:     func(string) access.Limits { return access.Limits{CostPerMonth: 2 * money.Unit} },
			Budgeted: func() []Client { return []Client{{Key: "key_a", Tenant: "team"}} },
			Price:    func(_ string, input, output int64) money.Amount { return money.Amount(input+output) * money.Unit / 4 },
		})
		shown := func() string {
			text, err := json.Marshal(l.Usage())
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		g, r := l.Admit(teamKey, l.Estimate("m", 4, 2))
		if r != nil {
			t.Fatalf("got %v, want no refusal by a guess", r)
		}
		l.Spent(teamKey, Spend{Tokens: 6, Cost: money.Unit / 2})
		const want = `[{"key":"key_a","key_tenant":"team","limits":{"cost_per_month":2},"in_flight":1,"remaining":{},"used":{},"budgets":{"cost_per_month":{"limit":2,"used":0.5,"reserved":1.5,"remaining":1.5,"complete":false,"renewed_at":"2000-02-01T00:00:00Z"}}}]`
		if got := shown(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		g.End(Outcome{})
		if _, r := l.Admit(teamKey, l.Estimate("m", 4, 3)); r == nil || !strings.Contains(r.Error(), "cost_per_month of the key key_a is 2, and 0.5 is used") {
			t.Errorf("got %v, want a refusal by what is known", r)
		}
		l.EndRead(l.BeginRead(), nil, nil)
		if got := shown(); !strings.Contains(got, `"complete":true`) {
			t.Errorf("got %s, want the use to be known", got)
		}
	})
}

// Lines wait for a budget, and the reason is known although the next line may fit.
func TestLinesWaitForBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(access.Limits{TokensPerMonth: 100}, access.Limits{})
		l.Spent(teamKey, tokens(90))
		if _, r := l.TakeLine(teamKey, tokens(20)); r == nil || r.InFlight() {
			t.Fatalf("got %+v, want a refusal that no end of a line ends", r)
		}
		const want = "budget of the key: tokens_per_month is 100, 90 used, renewed at 2000-02-01T00:00:00Z"
		if got := l.Reached(teamKey); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if _, r := l.TakeLine(teamKey, tokens(10)); r != nil {
			t.Fatal(r.Error())
		}
		if got := l.Reached(teamKey); got != "" {
			t.Errorf("after a line: got %q, want none", got)
		}
		if _, r := l.TakeLine(teamKey, tokens(1)); r == nil || !r.InFlight() {
			t.Errorf("got %+v, want a refusal by a line in flight", r)
		}
		l.Spent(teamKey, tokens(10))
		if got := l.Reached(teamKey); !strings.Contains(got, "100 used") {
			t.Errorf("used up: got %q, want the budget", got)
		}
	})
}
