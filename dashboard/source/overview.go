package source

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/templates"
)

type overview struct {
	*source

	mu    sync.Mutex
	since map[string]time.Time // guarded by mu; when each problem was first seen
}

func newOverview(s *source) *overview { return &overview{source: s} }

// activeRows limits the active batches that are shown.
const activeRows = 50

// Now returns the current state. Data that the store cannot provide while it is not
// available is omitted: its outage is one of the problems then.
func (o *overview) Now(ctx context.Context) (dashboard.Now, error) {
	health, err := o.health.get(ctx)
	if err != nil {
		return dashboard.Now{}, err
	}
	now := dashboard.Now{At: o.Config.Now(), Upstreams: o.upstreams(), Waiting: o.Pool.Queues(), Prices: o.Pool.Prices()}
	if health.Role != batch.RoleAll || len(health.Gateways) > 0 {
		now.Gateways = o.Engine.Gateways()
	}
	now.Paused, now.Queue.Hours = health.Paused, health.Hours
	now.Queue.InFlight, now.Queue.Limit = slotsInUse(now.Upstreams, o.Engine.Capacity().MaxInFlight)
	var late []engine.AtRisk
	if health.Store == engine.StatusOK {
		if err = o.stored(ctx, &now); err == nil {
			late, err = o.Engine.BatchesAtRisk(ctx, o.Tenant)
		}
		if err != nil {
			health.Store = err.Error()
		}
	}
	present, err := o.present.get(ctx)
	if err != nil {
		return dashboard.Now{}, err
	}
	now.Problems = o.dated(o.problems(&now, late, health, present), now.At)
	return now, nil
}

// slotsInUse returns how many lines are in flight at servers, and the limit.
func slotsInUse(servers []dashboard.Upstream, limit int) (inUse, slots int64) {
	for _, u := range servers {
		inUse += int64(u.BatchInFlight)
		slots += int64(u.BatchSlots)
	}
	return inUse, max(inUse, min(slots, int64(limit)))
}

// stored adds data from the store.
func (o *overview) stored(ctx context.Context, now *dashboard.Now) (err error) {
	if now.Window, now.Live, now.Batch, err = o.meter.rates(ctx, now.At); err != nil {
		return err
	}
	waiting, err := o.analytics().Waiting(ctx, o.Tenant)
	if err != nil {
		return err
	}
	now.Queue.Waiting = max(0, waiting.Lines-o.Engine.InFlightEverywhere())
	if !waiting.Oldest.IsZero() && now.Queue.Waiting > 0 {
		now.Queue.Oldest = max(0, now.At.Sub(waiting.Oldest))
	}
	states, err := o.analytics().BatchStates(ctx, o.Tenant)
	if err != nil {
		return err
	}
	for status, n := range states {
		if !status.Terminal() {
			now.Queue.Active += int(n)
		}
	}
	if now.Queue.Active == 0 {
		return nil
	}
	active, err := o.Engine.ActiveBatches(ctx, o.Tenant, activeRows)
	if err != nil {
		return err
	}
	now.Active, err = o.describe(ctx, active)
	return err
}

// describe adds the fields of lists to batches.
func (s *source) describe(ctx context.Context, rows []batch.Batch) ([]dashboard.Batch, error) {
	estimates, err := s.Engine.Estimates(ctx, rows...)
	if err != nil {
		return nil, err
	}
	inputs := make(map[string]map[string]bool) // by tenant
	moving := false
	for _, b := range rows {
		if inputs[b.Tenant] == nil {
			inputs[b.Tenant] = make(map[string]bool)
		}
		inputs[b.Tenant][b.InputFileID] = true
		moving = moving || b.Status == batch.InProgress
	}
	names := make(map[string]string)
	for tenant, ids := range inputs {
		own, err := s.analytics().FileNames(ctx, tenant, slices.Collect(maps.Keys(ids)))
		if err != nil {
			return nil, err
		}
		maps.Copy(names, own)
	}
	var inFlight map[string]int64
	if moving {
		inFlight = s.Engine.LinesInFlight(ctx)
	}
	described := make([]dashboard.Batch, len(rows))
	for i, b := range rows {
		described[i] = dashboard.Batch{
			Batch: b, InputName: names[b.InputFileID], RetryOf: b.Metadata[engine.RetryOf],
			InFlight: inFlight[b.ID], Remaining: remaining(b, estimates[b.ID]), Waits: s.Engine.WaitReason(ctx, b),
		}
		if described[i].Waits != "" {
			described[i].Remaining = templates.Estimate{Why: described[i].Waits}
		}
		if misses := estimates[b.ID].MissesDeadline; misses != nil {
			described[i].Misses = *misses
		}
		if rate := estimates[b.ID].LinesPerMinute; rate != nil {
			described[i].LineRate = *rate / time.Minute.Seconds()
		}
	}
	return described, nil
}

// The upper bound relative to the estimate at the rate of the last minute: rates fall
// when other batches and live requests arrive.
const estimateSlack = 1.3

// remaining returns the estimated time to the end.
func remaining(b batch.Batch, e engine.Estimate) templates.Estimate {
	switch {
	case b.Status.Terminal():
		return templates.Estimate{}
	case e.Remaining != nil:
		return templates.Estimate{Known: true, Low: *e.Remaining, High: time.Duration(float64(*e.Remaining) * estimateSlack)}
	case b.Status == batch.Validating:
		return templates.Estimate{Why: "its file is being checked"}
	case b.Status != batch.InProgress:
		return templates.Estimate{Why: "its files are being written"}
	case !b.PausedAt.IsZero():
		return templates.Estimate{Why: "it is paused"}
	case e.LinesPerMinute == nil:
		return templates.Estimate{Why: "it has just begun"}
	case *e.LinesPerMinute > 0:
		return templates.Estimate{Why: "more than 30 days at this rate"}
	default:
		return templates.Estimate{Why: "no line ended in the last minute"}
	}
}

// dated sets since when each problem exists.
func (o *overview) dated(problems []dashboard.Problem, now time.Time) []dashboard.Problem {
	o.mu.Lock()
	defer o.mu.Unlock()
	since := make(map[string]time.Time, len(problems))
	for i, p := range problems {
		if p.Since.IsZero() {
			if first, known := o.since[p.What]; known {
				problems[i].Since = first
			} else {
				problems[i].Since = now
			}
		}
		since[p.What] = problems[i].Since
	}
	o.since = since
	return problems
}
