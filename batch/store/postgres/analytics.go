package postgres

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// Sums are computed in floating point to avoid overflow.
const usageSums = `sum(requests::float8), sum(failures::float8), sum(input_tokens::float8), sum(cached_tokens::float8), sum(output_tokens::float8),
		sum(reasoning_tokens::float8), sum(total_tokens::float8)`

const inPeriod = ` WHERE tenant = $1 AND bucket >= $2 AND bucket < $3 `

var (
	usageSeries = declare(`SELECT bucket - bucket % $4::bigint AS step, class, ` + usageSums + ` FROM usage_15m` + inPeriod + ` AND ($5::text = '' OR model = $5) GROUP BY step, class ORDER BY step, class COLLATE "C"`)
	dailySeries = declare(`SELECT day - day % $4::bigint AS step, class, ` + usageSums + ` FROM usage_1d WHERE tenant = $1 AND day >= $2 AND day < $3 AND ($5::text = '' OR model = $5)
		GROUP BY step, class ORDER BY step, class COLLATE "C"`)
	dailyByModel = declare(`SELECT class, model, ` + usageSums + ` FROM usage_1d WHERE tenant = $1 AND day >= $2 AND day < $3
		GROUP BY class, model ORDER BY class COLLATE "C", model COLLATE "C"`)
	// "C" gives the same order as the other driver.
	usageByModel = declare(`SELECT class, model, ` + usageSums + ` FROM usage_15m` + inPeriod + `GROUP BY class, model ORDER BY class COLLATE "C", model COLLATE "C"`)
	eventSeries  = declare(`SELECT bucket - bucket % $4::bigint AS step, kind, sum(events::float8), sum(amount::float8) FROM events_15m` + inPeriod + `GROUP BY step, kind ORDER BY step, kind COLLATE "C"`)
	batchStates  = declare(`SELECT status, batches FROM batch_states WHERE tenant = $1 AND batches <> 0`)
	queuedLines  = declare(`SELECT tenant, key_id, ` + store.QueuedSums + ` FROM batches WHERE tenant = $1 AND status = 'in_progress' AND deleted_at IS NULL GROUP BY tenant, key_id`)
	// A row for each batch in progress.
	queuedLinesOfAll = declare(`SELECT tenant, key_id, ` + store.QueuedSums + ` FROM batches WHERE status = 'in_progress' AND deleted_at IS NULL GROUP BY tenant, key_id`)
	// A row for each status of a tenant.
	batchStatesOfAll = declare(`SELECT status, sum(batches)::bigint FROM batch_states GROUP BY status HAVING sum(batches) <> 0`)

	waiting = declare(`SELECT count(*) FILTER (WHERE paused_at IS NULL), count(*) FILTER (WHERE paused_at IS NOT NULL),
			coalesce(sum(total - completed - failed) FILTER (WHERE paused_at IS NULL), 0)::bigint,
			coalesce(sum(total - completed - failed) FILTER (WHERE paused_at IS NOT NULL), 0)::bigint,
			min(in_progress_at) FILTER (WHERE paused_at IS NULL)
		FROM batches WHERE tenant = $1 AND status = 'in_progress' AND deleted_at IS NULL`)
	fileUses = declare(`SELECT f.id, (SELECT count(*) FROM (SELECT 1 FROM batches WHERE input = f.seq AND deleted_at IS NULL LIMIT $3) b),
			coalesce((SELECT string_agg(id, ',' ORDER BY seq DESC)
				FROM (SELECT id, seq FROM batches WHERE input = f.seq AND deleted_at IS NULL ORDER BY seq DESC LIMIT $4) b), ''),
			EXISTS (SELECT 1 FROM batches WHERE input = f.seq AND ` + store.ActiveStatus + `)
		FROM files f WHERE f.id = ANY ($2::text[]) AND f.tenant = $1`)
	fileNames     = declare(`SELECT id, filename FROM files WHERE id = ANY ($2::text[]) AND tenant = $1`)
	largestFiles  = declare(`SELECT ` + store.FileColumns + ` FROM files WHERE tenant = $2 AND ` + fileVisible + ` ORDER BY bytes DESC, seq DESC LIMIT $3`)
	storageUse    = declare(`SELECT purpose, files, bytes FROM storage WHERE tenant IN ($1, $2) AND files <> 0 ORDER BY purpose`)
	tenantStorage = declare(`SELECT tenant, files, bytes, 0::bigint FROM storage WHERE tenant IN ($1, $2) AND files <> 0
		UNION ALL SELECT tenant, 0, 0, count(*) FROM uploads WHERE status = 'pending' AND expires_at > $3 AND tenant = $1 GROUP BY tenant`)
	storageByTenant = declare(`SELECT tenant, sum(files)::bigint, sum(bytes)::bigint, 0::bigint FROM storage GROUP BY tenant HAVING sum(files) <> 0
		UNION ALL SELECT tenant, 0, 0, count(*) FROM uploads WHERE status = 'pending' AND expires_at > $1 GROUP BY tenant`)
	allStorage = declare(`SELECT purpose, sum(files)::bigint, sum(bytes)::bigint FROM storage GROUP BY purpose HAVING sum(files) <> 0 ORDER BY purpose`)

	pruneUsage   = declare(`DELETE FROM usage_15m WHERE ctid = ANY (ARRAY(SELECT ctid FROM usage_15m WHERE bucket < $1 ORDER BY bucket LIMIT $2 FOR UPDATE SKIP LOCKED))`)
	pruneDays    = declare(`DELETE FROM usage_1d WHERE ctid = ANY (ARRAY(SELECT ctid FROM usage_1d WHERE day < $1 ORDER BY day LIMIT $2 FOR UPDATE SKIP LOCKED))`)
	pruneEvents  = declare(`DELETE FROM events_15m WHERE ctid = ANY (ARRAY(SELECT ctid FROM events_15m WHERE bucket < $1 ORDER BY bucket LIMIT $2 FOR UPDATE SKIP LOCKED))`)
	pruneMinutes = declare(`DELETE FROM batch_minutes WHERE ctid = ANY (ARRAY(SELECT ctid FROM batch_minutes WHERE minute < $1 ORDER BY minute LIMIT $2 FOR UPDATE SKIP LOCKED))`)
	pruneFlow    = declare(`DELETE FROM model_minutes WHERE ctid = ANY (ARRAY(SELECT ctid FROM model_minutes WHERE minute < $1 ORDER BY minute LIMIT $2 FOR UPDATE SKIP LOCKED))`)
)

// UsageSeries sums usage by class over steps.
func (s *Store) UsageSeries(ctx context.Context, tenant, model string, p batch.Period) (points []batch.UsagePoint, err error) {
	b := store.BoundsOf(p)
	err = s.report(ctx, "summing usage", func(t *tx) error {
		statement := usageSeries
		if b.Daily {
			statement = dailySeries
		}
		points, err = all(ctx, t, store.ScanUsagePoint, statement, tenant, b.From, b.To, b.Step, model)
		return err
	})
	return points, err
}

// UsageByModel sums usage by class and model.
func (s *Store) UsageByModel(ctx context.Context, tenant string, p batch.Period) (records []batch.UsageRecord, err error) {
	p.Step = 0 // totals have no steps
	b := store.BoundsOf(p)
	err = s.report(ctx, "summing usage", func(t *tx) error {
		statement := usageByModel
		if b.Long() {
			statement = dailyByModel
		}
		records, err = all(ctx, t, store.ScanModelUsage, statement, tenant, b.From, b.To)
		return err
	})
	return records, err
}

// Events counts events by kind over steps.
func (s *Store) Events(ctx context.Context, tenant string, p batch.Period) (points []batch.EventPoint, err error) {
	b := store.BoundsOf(p)
	err = s.report(ctx, "counting events", func(t *tx) error {
		points, err = all(ctx, t, store.ScanEvents, eventSeries, tenant, b.From, b.To, b.Step)
		return err
	})
	return points, err
}

// BatchStates counts batches by status.
func (s *Store) BatchStates(ctx context.Context, tenant string) (map[batch.Status]int64, error) {
	states := make(map[batch.Status]int64)
	err := s.report(ctx, "counting batches", func(t *tx) error {
		clear(states) // results of a previous attempt
		query, arguments := batchStates, []any{tenant}
		if tenant == batch.AllTenants {
			query, arguments = batchStatesOfAll, nil
		}
		counts, err := all(ctx, t, store.ScanStateCount, query, arguments...)
		for _, c := range counts {
			states[c.Status] = c.Batches
		}
		return err
	})
	return states, err
}

// QueuedLines sums lines without a result by key.
func (s *Store) QueuedLines(ctx context.Context, tenant string) (sums []batch.ClientQueued, err error) {
	err = s.report(ctx, "summing queued lines", func(t *tx) error {
		query, arguments := queuedLines, []any{tenant}
		if tenant == batch.AllTenants {
			query, arguments = queuedLinesOfAll, nil
		}
		sums, err = all(ctx, t, store.ScanClientQueued, query, arguments...)
		return err
	})
	return sums, err
}

// Waiting returns the remaining work of batches.
func (s *Store) Waiting(ctx context.Context, tenant string) (w batch.Waiting, err error) {
	err = s.report(ctx, "counting lines that wait", func(t *tx) error {
		w, err = one(ctx, t, store.ScanWaiting, waiting, tenant)
		return err
	})
	return w, err
}

// FileUses returns the batches that use files.
func (s *Store) FileUses(ctx context.Context, tenant string, ids []string, latest int) (uses map[string]batch.FileUse, err error) {
	err = s.report(ctx, "looking up uses of files", func(t *tx) error {
		found, err := all(ctx, t, store.ScanFileUse, fileUses, tenant, ids, batch.MaxFileUses, latest)
		uses = store.UsesOf(found)
		return err
	})
	return uses, err
}

// FileNames returns the names of files.
func (s *Store) FileNames(ctx context.Context, tenant string, ids []string) (map[string]string, error) {
	names := make(map[string]string, len(ids))
	err := s.report(ctx, "looking up names of files", func(t *tx) error {
		clear(names) // results of a previous attempt
		found, err := all(ctx, t, store.ScanFileName, fileNames, tenant, ids)
		for _, f := range found {
			names[f.ID] = f.Name
		}
		return err
	})
	return names, err
}

// LargestFiles lists files by size.
func (s *Store) LargestFiles(ctx context.Context, tenant string, limit int) (files []batch.File, err error) {
	err = s.report(ctx, "listing large files", func(t *tx) error {
		files, err = all(ctx, t, store.ScanFile, largestFiles, t.micros(), tenant, store.LimitOf(limit))
		return err
	})
	return files, err
}

// Storage sums the sizes of contents.
func (s *Store) Storage(ctx context.Context, tenant string) (uses []batch.StorageUse, err error) {
	err = s.report(ctx, "summing storage", func(t *tx) error {
		uses, err = t.storage(ctx, tenant)
		return err
	})
	return uses, err
}

func (t *tx) storage(ctx context.Context, tenant string) ([]batch.StorageUse, error) {
	if tenant == batch.AllTenants {
		return all(ctx, t, store.ScanStorage, allStorage)
	}
	return all(ctx, t, store.ScanStorage, storageUse, tenant, batch.IndexTenant(tenant))
}

// TenantStorage sums what tenants store.
func (s *Store) TenantStorage(ctx context.Context, tenant string) (uses []batch.TenantStored, err error) {
	err = s.report(ctx, "summing storage by tenant", func(t *tx) error {
		if tenant == batch.AllTenants {
			uses, err = all(ctx, t, store.ScanTenantStored, storageByTenant, t.micros())
		} else {
			uses, err = all(ctx, t, store.ScanTenantStored, tenantStorage, tenant, batch.IndexTenant(tenant), t.micros())
		}
		return err
	})
	return store.ByTenant(uses), err
}

// PruneHistory removes old history.
func (s *Store) PruneHistory(ctx context.Context, limit int) (n int, err error) {
	err = s.write(ctx, "pruning history", func(t *tx) error {
		n, err = t.prune(ctx, store.LimitOf(limit))
		return err
	})
	return n, err
}

func (t *tx) prune(ctx context.Context, limit int) (n int, err error) {
	history, minutes := store.Horizons(t.now)
	for _, p := range []struct {
		statement string
		before    int64
	}{{pruneUsage, history}, {pruneDays, history - store.Day.Microseconds()}, {pruneKeyUsage, store.Micros(t.now.Add(-batch.UsageTTL))}, {pruneEvents, history}, {pruneMinutes, minutes}, {pruneFlow, minutes}} {
		gone, err := t.exec(ctx, p.statement, p.before, limit-n)
		if err != nil {
			return 0, err
		}
		n += gone
	}
	return n, nil
}
