package limits

import (
	"cmp"
	"math"
	"slices"

	"github.com/tidegate/tidegate/access"
)

// Usage is the use of the limits of a key or a tenant. Of budgets it is that of all gateways,
// of the other limits that of this one.
type Usage struct {
	Key     string `json:"key,omitempty"` // id, for a key
	KeyName string `json:"key_name,omitempty"`
	// KeyTenant is the tenant of a key, "" if it is not known.
	KeyTenant string        `json:"key_tenant,omitempty"`
	Tenant    string        `json:"tenant,omitempty"` // for a tenant
	Limits    access.Limits `json:"limits"`
	InFlight  int64         `json:"in_flight"`
	// Remaining is the unused part of each limit by time, by its name.
	Remaining map[string]int64 `json:"remaining"`
	// Used is the used part of each limit but budgets, by its name. What is not known is
	// missing.
	Used map[string]int64 `json:"used"`
	// Budgets are the limits by month, by their names.
	Budgets map[string]Budget `json:"budgets,omitempty"`
	// Storage are the limits of what a tenant stores, its own or else the defaults.
	Storage []StorageUse `json:"storage,omitempty"`
}

// StorageUse is the use of a limit of what a tenant stores.
type StorageUse struct {
	Name    string `json:"name"`
	Limit   int64  `json:"limit"`             // in bytes, or a count
	Used    *int64 `json:"used"`              // nil if it is not known
	Default bool   `json:"default,omitempty"` // the tenant has no limit of its own, so the default applies
	Bytes   bool   `json:"-"`
}

// SortUsage sorts as Usage does: by tenant, then key.
func SortUsage(list []Usage) {
	slices.SortFunc(list, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key))
	})
}

// Usage returns the use of all keys and tenants with limits. It changes no account: of one
// that Load has restored, the limits are perhaps not known yet.
func (l *Limiter) Usage() []Usage {
	tenants := make(map[owner]string)
	config := l.config.Load()
	if config != nil {
		for name := range config.Tenants {
			tenants[owner{tenant: true, name: name}] = name
		}
	}
	list := l.Budgeted()
	if config != nil && config.Limited != nil {
		list = append(list, config.Limited()...)
	}
	for _, c := range list {
		if c.Key != "" {
			tenants[owner{name: c.Key}] = c.Tenant
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for o := range l.accounts {
		if _, known := tenants[o]; !known {
			tenants[o] = ""
		}
	}
	return l.usage(tenants)
}

// UsageOf returns the use of a client's key and of its tenant, of those that have limits.
func (l *Limiter) UsageOf(c Client) []Usage {
	tenants := map[owner]string{{tenant: true, name: c.Tenant}: c.Tenant}
	if c.Key != "" {
		tenants[owner{name: c.Key}] = c.Tenant
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usage(tenants)
}

// usage returns the use of owners, in order. tenants has the tenants of keys. The caller
// holds mu.
func (l *Limiter) usage(tenants map[owner]string) []Usage {
	now := l.now()
	list := make([]Usage, 0, len(tenants))
	for o, tenant := range tenants {
		a := account{owner: o}
		if known := l.accounts[o]; known != nil {
			a = *known
		}
		if a.limits = l.limitsOf(o); a.limits == (access.Limits{}) {
			continue
		}
		u := Usage{Limits: a.limits, InFlight: a.inFlight, Remaining: make(map[string]int64), Used: make(map[string]int64)}
		if u.Tenant = o.name; !o.tenant {
			u.Key, u.Tenant, u.KeyTenant = o.name, "", tenant
		}
		u.Budgets = l.budgets.list(o, a.limits, now)
		for _, r := range append(a.rates(0, l.gateways, now), a.batchRate(l.gateways, now)...) {
			u.Remaining[r.kind.String()] = int64(math.Floor(max(0, r.bucket.level) + 1e-6))
			u.Used[r.kind.String()] = int64(math.Ceil(r.capacity - r.bucket.level - 1e-6))
		}
		if a.limits.RequestsInFlight > 0 {
			u.Used[RequestsInFlight.String()] = a.inFlight
		}
		list = append(list, u)
	}
	SortUsage(list)
	return list
}
