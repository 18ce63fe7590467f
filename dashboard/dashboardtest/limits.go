package dashboardtest

import (
	"context"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
)

// clientLimits are the limits of two tenants and of the first key, and their use.
type clientLimits struct{ *Fake }

// Limits returns the limits that the client of the context may see.
func (l clientLimits) Limits(ctx context.Context) []limits.Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size == 0 {
		return nil
	}
	key := l.keys[0]
	limiter := limits.New(l.Clock)
	limiter.Apply(limits.Config{
		Tenants: map[string]access.Limits{
			key.Tenant:      {TokensPerMonth: 5_000_000 * l.size, CostPerMonth: 250_000_000_000},
			l.Say("team-1"): {TokensPerMonth: 1_000_000, RequestsInFlight: 40},
		},
		Keys: func(id string) access.Limits {
			if id == key.ID {
				return key.Limits
			}
			return access.Limits{}
		},
		Limited: func() []limits.Client { return []limits.Client{limits.Of(key.Identity())} },
	})
	limiter.EndRead(limiter.BeginRead(), []limits.ClientSpend{
		{Client: limits.Of(key.Identity()), Spend: limits.Spend{Tokens: 1_234_567 * l.size, Cost: 12_345_678_900}},
		{Client: limits.Client{Tenant: l.Say("team-1")}, Spend: limits.Spend{Tokens: 1_000_001}},
	}, nil)
	for range 120 {
		if g, refused := limiter.Admit(limits.Of(key.Identity()), limits.Spend{}); refused == nil {
			g.End(limits.Outcome{Sent: true})
		}
	}
	client := access.From(ctx)
	list := limiter.UsageOf(limits.Of(client))
	if client.May(access.Admin) || client.Tenant == "" { // a dashboard without identities
		list = limiter.Usage()
	}
	for i := range list {
		if u := &list[i]; u.Key == "" && u.Tenant == key.Tenant {
			stored := 31 << 20 * l.size
			u.Storage = []limits.StorageUse{{Name: "max_stored_size", Limit: 100 << 30, Used: &stored, Bytes: true}, {Name: "max_open_uploads", Limit: 50, Default: true}}
		}
		if u := &list[i]; u.Key == key.ID {
			u.KeyName = key.Name
			u.Used["lines_queued"] = 31_000 * l.size
		}
	}
	return list
}
