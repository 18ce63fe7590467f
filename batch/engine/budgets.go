package engine

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
)

// budgetLimiter returns the limiter if keys or tenants have budgets, else nil.
func (u *usageBuffer) budgetLimiter() batch.ClientLimiter {
	limiter := u.dispatcher.Capabilities().Limits
	if limiter == nil || len(limiter.Budgeted()) == 0 {
		return nil
	}
	return limiter
}

// learn reads the use of budgets at the start, before requests are served. Whether there are
// budgets is perhaps not known yet: managed keys are read later. An error is no reason not
// to start, because the use is read again.
func (u *usageBuffer) learn(ctx context.Context) {
	limiter := u.dispatcher.Capabilities().Limits
	if limiter == nil {
		return
	}
	month := limiter.BeginRead()
	spent, err := u.spent.read(ctx, month, limiter)
	limiter.EndRead(month, spent, err)
}

// spentReader reads the usage of clients in a month. Usage is added to the present day only,
// so that the sum of the days before yesterday is read once.
type spentReader struct {
	*parts
	month, until time.Time // of past
	past         []limits.ClientSpend
	failing      bool // the last read has failed
}

func (s *spentReader) read(ctx context.Context, month time.Time, limiter batch.ClientLimiter) ([]limits.ClientSpend, error) {
	list, err := s.sum(ctx, month, limiter)
	if (err != nil) != s.failing {
		s.failing = err != nil
		if s.failing {
			s.log.Warn("reading the use of budgets failed: until it succeeds, what other gateways use is not counted", zap.Error(err))
		}
	}
	return list, err
}

func (s *spentReader) sum(ctx context.Context, month time.Time, limiter batch.ClientLimiter) ([]limits.ClientSpend, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	until := time.Now().UTC().Truncate(day).Add(-day)
	if until.Before(month) {
		until = month
	}
	if !s.month.Equal(month) || !s.until.Equal(until) {
		past, err := s.days(ctx, month, until, limiter)
		if err != nil {
			return nil, err
		}
		s.month, s.until, s.past = month, until, past
	}
	list, err := s.days(ctx, until, month.AddDate(0, 1, 0), limiter)
	if err != nil {
		return nil, err
	}
	return append(list, s.past...), nil
}

// days returns the usage of the clients on some days.
func (s *spentReader) days(ctx context.Context, from, to time.Time, limiter batch.ClientLimiter) (list []limits.ClientSpend, err error) {
	if !from.Before(to) {
		return nil, nil
	}
	query := func(tenant string, q batch.UsageQuery) (more bool, err error) {
		q.From, q.To, q.Limit = from, to, batch.MaxUsageRows
		report, err := s.store.KeyUsage(ctx, tenant, q)
		for i := range report.Rows {
			row := &report.Rows[i]
			list = append(list, limits.ClientSpend{Client: limits.Client{Key: row.KeyID, Tenant: row.Tenant}, Spend: limits.Spend{Tokens: row.TotalTokens(), Cost: row.Cost}})
		}
		return report.More, err
	}
	more, err := query(batch.AllTenants, batch.UsageQuery{By: batch.UsageGroup{Tenant: true, Key: true}})
	if err != nil || !more {
		return list, err
	}
	// Too many clients for one report: only those with budgets count.
	list = nil
	for _, c := range limiter.Budgeted() {
		if c.Key != "" {
			_, err = query(batch.AllTenants, batch.UsageQuery{KeyID: c.Key, By: batch.UsageGroup{Key: true}})
		} else {
			_, err = query(c.Tenant, batch.UsageQuery{By: batch.UsageGroup{Tenant: true}})
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}
