package caddymodule

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/background"
	"github.com/tidegate/tidegate/internal/wait"
)

// limitsSaved is the time between two writes of the use of limits, while it changes.
const limitsSaved = time.Second

// limitKeeper stores the use of limits in the data directory, so that a restart does not
// renew it.
type limitKeeper struct {
	*limits.Limiter
	log  *zap.Logger
	path string
	runs *background.Group
}

// keepLimits reads what an earlier process used, and stores the use from now on. The
// directory of the first configuration is kept. The caller holds mu.
func (p *sharedPool) keepLimits(dataDir string) {
	if p.keeper != nil {
		return
	}
	k := &limitKeeper{Limiter: p.limits, log: p.log, path: filepath.Join(dataDir, "tidegate-limits.json"), runs: background.NewGroup(context.Background())}
	if err := k.Load(k.path); err != nil {
		k.log.Warn("use of limits before the restart is not known", zap.Error(err))
	}
	k.runs.Start(k.run)
	p.keeper = k
}

func (k *limitKeeper) run(ctx context.Context) {
	for wait.Sleep(ctx, limitsSaved) {
		k.save()
	}
	k.save()
}

func (k *limitKeeper) save() {
	if err := k.Save(k.path); err != nil {
		k.log.Warn("storing the use of limits failed: a restart renews it", zap.Error(err))
	}
}

func (k *limitKeeper) stop() {
	k.runs.Stop()
	k.runs.Wait()
}

// limitList is the response of GET /limits.
type limitList struct {
	Object string         `json:"object"` // "list"
	Data   []limits.Usage `json:"data"`
}

// showLimits answers with the limits that the client may see, and their use.
func (h *APIHandler) showLimits(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, http.StatusOK, limitList{"list", limitService{h.app}.Limits(r.Context())})
}

// limitService shows limits and their use, for the API and the dashboard.
type limitService struct{ app *App }

// storedWait limits how long the store may take for queued lines and what is stored. Without
// them, the rest is shown.
const storedWait = 2 * time.Second

// Limits returns the limits of all keys and tenants to an administrator, to other clients
// those of their key and of its tenant.
func (s limitService) Limits(ctx context.Context) []limits.Usage {
	client := access.From(ctx)
	limiter, tenant := s.app.pool.limits, client.Tenant
	var list []limits.Usage
	if client.May(access.Admin) {
		list, tenant = limiter.Usage(), batch.AllTenants
	} else {
		list = limiter.UsageOf(limits.Of(client))
	}
	queues := false
	for i := range list {
		u := &list[i]
		u.KeyName = s.app.runtime.keyName(u.Key)
		queues = queues || u.Limits.LinesQueued > 0 || u.Limits.TokensQueued > 0
	}
	ctx, cancel := context.WithTimeout(ctx, storedWait)
	defer cancel()
	if queues {
		s.addQueued(ctx, tenant, list)
	}
	return s.withStorage(ctx, tenant, list)
}

// withStorage returns the list with the storage limits of a tenant, or of batch.AllTenants:
// those with a configuration, with limits, or with anything stored. What is stored is added
// unless the store does not answer.
func (s limitService) withStorage(ctx context.Context, tenant string, list []limits.Usage) []limits.Usage {
	own, names := s.app.storageLimits(), map[string]bool{access.From(ctx).Tenant: true}
	if tenant == batch.AllTenants {
		for _, t := range s.app.Tenants {
			names[t.Name] = true
		}
	}
	stored := make(map[string]batch.TenantStored)
	uses, err := s.app.runtime.engine.Store().TenantStorage(ctx, tenant)
	for _, u := range uses {
		stored[u.Tenant] = u
		names[u.Tenant] = true
	}
	at := make(map[string]int) // by tenant
	for i, u := range list {
		if u.Key == "" {
			at[u.Tenant] = i
			names[u.Tenant] = true
		}
	}
	for name := range names {
		i, known := at[name]
		if !known {
			i = len(list)
			list = append(list, limits.Usage{Tenant: name, Remaining: map[string]int64{}, Used: map[string]int64{}})
		}
		list[i].Storage = storageUses(s.app.Batch.limits().Of(own[name]), own[name], stored[name], err == nil)
	}
	limits.SortUsage(list)
	return list
}

// storageUses returns the storage limits of a tenant and, if it is known, what is stored. own
// has those that are not defaults.
func storageUses(l, own batch.StorageLimit, stored batch.TenantStored, known bool) (uses []limits.StorageUse) {
	for _, u := range []struct {
		limits.StorageUse
		own, used int64
	}{
		{limits.StorageUse{Name: "max_stored_size", Limit: l.Bytes, Bytes: true}, own.Bytes, stored.Bytes},
		{limits.StorageUse{Name: "max_files", Limit: l.Files}, own.Files, stored.Files},
		{limits.StorageUse{Name: "max_open_uploads", Limit: l.Uploads}, own.Uploads, stored.Uploads},
	} {
		if u.Limit == 0 {
			continue
		}
		if u.Default = u.own == 0; known {
			u.Used = &u.used
		}
		uses = append(uses, u.StorageUse)
	}
	return uses
}

// addQueued adds the use of lines_queued and tokens_queued, unless the store does not answer.
func (s limitService) addQueued(ctx context.Context, tenant string, list []limits.Usage) {
	sums, err := s.app.runtime.engine.Store().QueuedLines(ctx, tenant)
	if err != nil {
		return
	}
	keys, tenants := make(map[limits.Client]batch.Queued), make(map[string]batch.Queued)
	for _, q := range sums {
		keys[q.Client] = q.Queued
		all := tenants[q.Tenant]
		tenants[q.Tenant] = batch.Queued{Lines: all.Lines + q.Lines, Tokens: all.Tokens + q.Tokens}
	}
	for i := range list {
		u := &list[i]
		queued := tenants[u.Tenant]
		if u.Key != "" {
			if u.KeyTenant == "" { // of a revoked key
				continue
			}
			queued = keys[limits.Client{Key: u.Key, Tenant: u.KeyTenant}]
		}
		if u.Limits.LinesQueued > 0 {
			u.Used["lines_queued"] = queued.Lines
		}
		if u.Limits.TokensQueued > 0 {
			u.Used["tokens_queued"] = queued.Tokens
		}
	}
}
