package engine

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// usageFlush is the interval between writes of the counted usage of live requests. A kill
// loses at most the usage of one interval.
const usageFlush = 5 * time.Second

// usageCells bounds the distinct cells kept between two writes.
const usageCells = 10_000

// usageBuffer sums usage in memory and writes it every usageFlush.
type usageBuffer struct {
	*parts
	mu    sync.Mutex
	cells map[batch.UsageCell]*batch.UsageRecord // guarded by mu
	spent spentReader                            // one goroutine uses it
}

func newUsageBuffer(p *parts) *usageBuffer {
	return &usageBuffer{parts: p, cells: make(map[batch.UsageCell]*batch.UsageRecord), spent: spentReader{parts: p}}
}

// RecordUsage counts one request that is no batch line, and its cost by the present prices.
// It never waits; counts are written every few seconds.
func (e *Engine) RecordUsage(r batch.UsageRecord) {
	charge := e.config().Prices.Charge(r.Class, r.Model, r.Usage)
	r.Cost = charge.Cost
	if charge.Unpriced {
		r.Unpriced = 1
	}
	e.usage.add(r)
}

func (u *usageBuffer) add(r batch.UsageRecord) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.put(r)
	if limiter := u.dispatcher.Capabilities().Limits; limiter != nil {
		limiter.Spent(limits.Client{Key: r.KeyID, Tenant: r.Tenant}, limits.Spend{Tokens: r.Usage.InputTokens + r.Usage.OutputTokens, Cost: r.Cost})
	}
}

// put adds to a cell. The caller holds mu.
func (u *usageBuffer) put(r batch.UsageRecord) {
	name := r.Cell()
	cell := u.cells[name]
	if cell == nil {
		if len(u.cells) >= usageCells {
			// Only while the store is away for long: fold what is new into one
			// cell of each key rather than grow or lose it.
			r.Model, r.Endpoint = "", ""
			name = r.Cell()
			if cell = u.cells[name]; cell != nil {
				cell.Add(r)
				return
			}
		}
		u.cells[name] = &r
		return
	}
	cell.Add(r)
}

func (u *usageBuffer) run(ctx context.Context) {
	for wait.Sleep(ctx, usageFlush) {
		u.flush(ctx)
	}
	u.flush(context.WithoutCancel(ctx))
}

// flush writes what was counted, and reads the use of budgets.
func (u *usageBuffer) flush(ctx context.Context) {
	limiter := u.budgetLimiter()
	if limiter == nil {
		_ = u.write(ctx, u.take(nil))
		return
	}
	var month time.Time
	cells := u.take(func() { month = limiter.BeginRead() })
	var spent []limits.ClientSpend
	err := u.write(ctx, cells)
	if err == nil {
		spent, err = u.spent.read(ctx, month, limiter)
	}
	limiter.EndRead(month, spent, err)
}

// take removes and returns what was counted. The call of also, unless nil, and the removal
// are one step for add.
func (u *usageBuffer) take(also func()) map[batch.UsageCell]*batch.UsageRecord {
	u.mu.Lock()
	defer u.mu.Unlock()
	cells := u.cells
	u.cells = make(map[batch.UsageCell]*batch.UsageRecord, len(cells))
	if also != nil {
		also()
	}
	return cells
}

// write writes what take has returned. After an error it is counted again.
func (u *usageBuffer) write(ctx context.Context, cells map[batch.UsageCell]*batch.UsageRecord) error {
	if len(cells) == 0 {
		return nil
	}
	records := make([]batch.UsageRecord, 0, len(cells))
	for _, r := range cells {
		records = append(records, *r)
	}
	ctx, cancel := u.bounded(ctx)
	defer cancel()
	err := u.store.AddUsage(ctx, records)
	if err != nil {
		u.log.Warn("writing usage failed; it is kept and written later", zap.Error(err))
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, r := range records {
			u.put(r)
		}
	}
	return err
}
