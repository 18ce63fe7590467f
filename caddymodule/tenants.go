package caddymodule

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// TenantConfig configures a tenant.
type TenantConfig struct {
	// Name is the name of the tenant in keys.
	Name string `json:"name"`
	// Weight is the tenant's share of the slots for batches, relative to other tenants
	// with waiting lines. Default 1.
	Weight float64 `json:"weight,omitempty"`
	// Limits limit the use by all clients of the tenant together. Default: no limit.
	Limits TenantLimits `json:"limits,omitzero"`
}

// TenantLimits are the limits of a tenant.
type TenantLimits struct {
	access.Limits

	// MaxStoredSize limits what the tenant may store, in bytes. Default: that of batch.
	MaxStoredSize int64 `json:"max_stored_size,omitempty"`
	// MaxFiles limits the number of these contents. Default: that of batch.
	MaxFiles int `json:"max_files,omitempty"`
	// MaxOpenUploads limits the tenant's pending uploads. Default: that of batch.
	MaxOpenUploads int `json:"max_open_uploads,omitempty"`
}

// storage returns the limits of what the tenant stores.
func (l TenantLimits) storage() batch.StorageLimit {
	return batch.StorageLimit{Bytes: l.MaxStoredSize, Files: int64(l.MaxFiles), Uploads: int64(l.MaxOpenUploads)}
}

// check returns an error for a value that no limit can have.
func (l TenantLimits) check() error {
	for name, value := range map[string]int64{"max_stored_size": l.MaxStoredSize, "max_files": int64(l.MaxFiles), "max_open_uploads": int64(l.MaxOpenUploads)} {
		if value < 0 {
			return fmt.Errorf("%s must be positive, not %d", name, value)
		}
	}
	return l.Check()
}

// storageLimits returns the storage limits of the tenants that have one.
func (a *App) storageLimits() map[string]batch.StorageLimit {
	limits := make(map[string]batch.StorageLimit)
	for _, t := range a.Tenants {
		if l := t.Limits.storage(); l != (batch.StorageLimit{}) {
			limits[t.Name] = l
		}
	}
	return limits
}

// maxTenantWeight limits the weight of a tenant.
const maxTenantWeight = 1000

// minTenantWeight is the smallest weight. Far smaller ones would be lost when turns are added
// up: a tenant with such a weight would never have its turn, or always.
const minTenantWeight = 0.001

// readTenant parses a tenant. See App.UnmarshalCaddyfile.
func (a *App) readTenant(d *caddyfile.Dispenser) (err error) {
	var t TenantConfig
	if t.Name, err = argument(d); err != nil {
		return err
	}
	for i := range a.Tenants {
		if a.Tenants[i].Name == t.Name {
			return d.Errf("tenant %s already specified", t.Name)
		}
	}
	if err := access.CheckTenant(t.Name); err != nil {
		return d.WrapErr(err)
	}
	if err := block(d, map[string]option{"weight": numberFrom(&t.Weight, minTenantWeight, maxTenantWeight), "limits": tenantLimitsBlock(&t.Limits)}); err != nil {
		return err
	}
	a.Tenants = append(a.Tenants, t)
	return nil
}

// limitsBlock parses a block of limits:
//
//	limits {
//		<limit> <count>
//	}
func limitsBlock(to *access.Limits) option { return moreLimitsBlock(to, nil) }

// tenantLimitsBlock parses the block of limits of a tenant.
func tenantLimitsBlock(to *TenantLimits) option {
	return moreLimitsBlock(&to.Limits, map[string]option{
		"max_stored_size": size(&to.MaxStoredSize), "max_files": count(&to.MaxFiles), "max_open_uploads": count(&to.MaxOpenUploads),
	})
}

// moreLimitsBlock is limitsBlock with more limits.
func moreLimitsBlock(to *access.Limits, more map[string]option) option {
	return func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		options := make(map[string]option)
		maps.Copy(options, more)
		for _, f := range to.Fields() {
			options[f.Name] = func(d *caddyfile.Dispenser) error {
				text, err := argument(d)
				if err != nil {
					return err
				}
				return wrap(d, f.Parse(text))
			}
		}
		return block(d, options)
	}
}

// checkTenants returns the first error of the tenants.
func (a *App) checkTenants() error {
	seen := make(map[string]bool)
	for _, t := range a.Tenants {
		if err := access.CheckTenant(t.Name); err != nil {
			return err
		}
		if seen[t.Name] {
			return fmt.Errorf("tenant %s already specified", t.Name)
		}
		seen[t.Name] = true
		if t.Weight != 0 && !(t.Weight >= minTenantWeight && t.Weight <= maxTenantWeight) { // NaN is refused too
			return fmt.Errorf("tenant %s: weight must be a number from %g to %d, not %g", t.Name, minTenantWeight, maxTenantWeight, t.Weight)
		}
		if err := t.Limits.check(); err != nil {
			return fmt.Errorf("tenant %s: %w", t.Name, err)
		}
	}
	return nil
}

// weights returns the weights of tenants.
func (a *App) weights() map[string]float64 {
	weights := make(map[string]float64)
	for _, t := range a.Tenants {
		if t.Weight > 0 {
			weights[t.Name] = t.Weight
		}
	}
	return weights
}

// clientLimits are the limits of a configuration.
type clientLimits struct {
	tenants  map[string]access.Limits
	keys     map[string]access.Limits // of the configuration, by id
	limited  []limits.Client          // those with limits
	budgeted []limits.Client          // those with budgets
}

func (a *App) clientLimits() clientLimits {
	c := clientLimits{tenants: make(map[string]access.Limits), keys: make(map[string]access.Limits)}
	for _, t := range a.Tenants {
		c.tenants[t.Name] = t.Limits.Limits
	}
	for i := range a.Keys {
		k := &a.Keys[i]
		c.keys[keyID(k.Name)] = k.Limits
		client := limits.Client{Key: keyID(k.Name), Tenant: cmp.Or(k.Tenant, access.DefaultTenant)}
		if k.Limits != (access.Limits{}) {
			c.limited = append(c.limited, client)
		}
		if k.Limits.Budget() {
			c.budgeted = append(c.budgeted, client)
		}
	}
	return c
}

// config returns the limits, with those of managed keys, and costs by prices.
func (c clientLimits) config(managed *access.Directory, prices *batch.Prices) limits.Config {
	return limits.Config{
		Tenants: c.tenants,
		Keys: func(id string) access.Limits {
			if own, ok := c.keys[id]; ok {
				return own
			}
			return managed.Limits(id)
		},
		Limited:  func() []limits.Client { return withManaged(c.limited, managed.Limited()) },
		Budgeted: func() []limits.Client { return withManaged(c.budgeted, managed.Budgeted()) },
		Price: func(model string, input, output int64) batch.Money {
			return prices.Charge(batch.ClassLive, model, openai.Usage{InputTokens: input, OutputTokens: output}).Cost
		},
	}
}

func withManaged(configured []limits.Client, managed []*access.Key) []limits.Client {
	list := slices.Clone(configured)
	for _, k := range managed {
		list = append(list, limits.Client{Key: k.ID, Tenant: k.Tenant})
	}
	return list
}

// checkBudgets returns an error for a budget of money without prices: nothing would cost
// anything.
func (a *App) checkBudgets(prices *batch.Prices) error {
	if prices != nil {
		return nil
	}
	for _, t := range a.Tenants {
		if t.Limits.CostPerMonth > 0 {
			return fmt.Errorf("tenant %s: cost_per_month needs prices: configure cost", t.Name)
		}
	}
	for i := range a.Keys {
		if a.Keys[i].Limits.CostPerMonth > 0 {
			return fmt.Errorf("key %s: cost_per_month needs prices: configure cost", a.Keys[i].Name)
		}
	}
	return nil
}
