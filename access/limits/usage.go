package limits

import (
	"cmp"
	"math"
	"slices"

	"github.com/tidegate/tidegate/access"
)

// Usage is the use of the limits of a key or a tenant on this gateway.
type Usage struct {
	Key      string        `json:"key,omitempty"`    // id, for a key
	Tenant   string        `json:"tenant,omitempty"` // for a tenant
	Limits   access.Limits `json:"limits"`
	InFlight int64         `json:"in_flight"`
	// Remaining is the unused part of each limit by time, by its name.
	Remaining map[string]int64 `json:"remaining"`
	// Budgets are the limits by month, by their names.
	Budgets map[string]Budget `json:"budgets,omitempty"`
	// TenantOfKey is the tenant of a key with a budget.
	TenantOfKey string `json:"-"`
}

// Usage returns the use of all keys and tenants with limits that were active lately, or have
// a budget. It changes no account: of one that Load has restored, the limits are perhaps not
// known yet.
func (l *Limiter) Usage() []Usage {
	tenants := make(map[owner]string)
	for _, c := range l.Budgeted() {
		if c.Key != "" {
			tenants[owner{name: c.Key}] = c.Tenant
		} else {
			tenants[owner{tenant: true, name: c.Tenant}] = c.Tenant
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	accounts := make(map[owner]account, len(l.accounts)+len(tenants))
	for o := range tenants {
		accounts[o] = account{owner: o}
	}
	for o, a := range l.accounts {
		accounts[o] = *a
	}
	list := make([]Usage, 0, len(accounts))
	for o, a := range accounts {
		if a.limits = l.limitsOf(o); a.limits == (access.Limits{}) {
			continue
		}
		u := Usage{Limits: a.limits, InFlight: a.inFlight, Remaining: make(map[string]int64)}
		if u.Tenant = o.name; !o.tenant {
			u.Key, u.Tenant, u.TenantOfKey = o.name, "", tenants[o]
		}
		u.Budgets = l.budgets.list(o, a.limits, now)
		for _, r := range append(a.rates(0, l.gateways, now), a.batchRate(l.gateways, now)...) {
			u.Remaining[r.kind.String()] = int64(math.Floor(max(0, r.bucket.level) + 1e-6))
		}
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key))
	})
	return list
}
