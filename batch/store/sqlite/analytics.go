package sqlite

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// Sums are made in floating point, as SQLite's of integers fail where they
// overflow.
const usageSums = `total(requests), total(failures), total(input_tokens), total(cached_tokens), total(output_tokens), total(reasoning_tokens), total(total_tokens)`

var (
	usageSeries = reads(`SELECT bucket - bucket % ?4 AS step, class, ` + usageSums + ` FROM usage_15m
		WHERE tenant = ?1 AND bucket >= ?2 AND bucket < ?3 AND (?5 = '' OR model = ?5) GROUP BY step, class ORDER BY step, class`)
	usageByModel = reads(`SELECT class, model, ` + usageSums + ` FROM usage_15m
		WHERE tenant = ?1 AND bucket >= ?2 AND bucket < ?3 GROUP BY class, model ORDER BY class, model`)
	dailySeries = reads(`SELECT day - day % ?4 AS step, class, ` + usageSums + ` FROM usage_1d
		WHERE tenant = ?1 AND day >= ?2 AND day < ?3 AND (?5 = '' OR model = ?5) GROUP BY step, class ORDER BY step, class`)
	dailyByModel = reads(`SELECT class, model, ` + usageSums + ` FROM usage_1d
		WHERE tenant = ?1 AND day >= ?2 AND day < ?3 GROUP BY class, model ORDER BY class, model`)
	eventSeries = reads(`SELECT bucket - bucket % ?4 AS step, kind, total(events), total(amount) FROM events_15m
		WHERE tenant = ?1 AND bucket >= ?2 AND bucket < ?3 GROUP BY step, kind ORDER BY step, kind`)
	batchStates = reads(`SELECT status, batches FROM batch_states WHERE tenant = ? AND batches <> 0`)
	queuedLines = reads(`SELECT tenant, key_id, ` + store.QueuedSums + ` FROM batches INDEXED BY batches_status WHERE tenant = ? AND status = 'in_progress' AND deleted_at IS NULL GROUP BY tenant, key_id`)
	// A row for each batch in progress.
	queuedLinesOfAll = reads(`SELECT tenant, key_id, ` + store.QueuedSums + ` FROM batches INDEXED BY batches_turns WHERE status = 'in_progress' AND deleted_at IS NULL GROUP BY tenant, key_id`)
	// A row for each status of a tenant.
	batchStatesOfAll = reads(`SELECT status, sum(batches) FROM batch_states GROUP BY status HAVING sum(batches) <> 0`)

	waiting = reads(`SELECT count(*) FILTER (WHERE paused_at IS NULL), count(*) FILTER (WHERE paused_at IS NOT NULL),
			coalesce(sum(total - completed - failed) FILTER (WHERE paused_at IS NULL), 0),
			coalesce(sum(total - completed - failed) FILTER (WHERE paused_at IS NOT NULL), 0),
			min(in_progress_at) FILTER (WHERE paused_at IS NULL)
		FROM batches WHERE tenant = ? AND status = 'in_progress' AND deleted_at IS NULL`)
	fileUses = reads(`SELECT f.id, (SELECT count(*) FROM (SELECT 1 FROM batches WHERE input = f.seq AND deleted_at IS NULL LIMIT ?3)),
			coalesce((SELECT group_concat(id, ',' ORDER BY seq DESC)
				FROM (SELECT id, seq FROM batches WHERE input = f.seq AND deleted_at IS NULL ORDER BY seq DESC LIMIT ?4)), ''),
			EXISTS (SELECT 1 FROM batches INDEXED BY batches_input_unfinished WHERE input = f.seq AND ` + store.ActiveStatus + `)
		FROM files f WHERE f.id = ?2 AND f.tenant = ?1`)
	fileName     = reads(`SELECT filename FROM files WHERE id = ? AND tenant = ?`)
	largestFiles = reads(`SELECT ` + store.FileColumns + ` FROM files INDEXED BY files_size
		WHERE tenant = ?2 AND ` + fileVisible + ` ORDER BY bytes DESC, seq DESC LIMIT ?3`)
	storageUse    = reads(`SELECT purpose, files, bytes FROM storage WHERE tenant IN (?, ?) AND files <> 0 ORDER BY purpose`)
	tenantStorage = reads(`SELECT tenant, files, bytes, 0 FROM storage WHERE tenant IN (?1, ?2) AND files <> 0
		UNION ALL SELECT tenant, 0, 0, count(*) FROM uploads WHERE status = 'pending' AND expires_at > ?3 AND tenant = ?1 GROUP BY tenant`)
	storageByTenant = reads(`SELECT tenant, sum(files), sum(bytes), 0 FROM storage GROUP BY tenant HAVING sum(files) <> 0
		UNION ALL SELECT tenant, 0, 0, count(*) FROM uploads WHERE status = 'pending' AND expires_at > ? GROUP BY tenant`)
	allStorage = reads(`SELECT purpose, sum(files), sum(bytes) FROM storage GROUP BY purpose HAVING sum(files) <> 0 ORDER BY purpose`)

	pruneUsage   = writes(`DELETE FROM usage_15m WHERE (tenant, bucket, class, model, endpoint) IN (SELECT tenant, bucket, class, model, endpoint FROM usage_15m INDEXED BY usage_15m_age WHERE bucket < ? LIMIT ?)`)
	pruneDays    = writes(`DELETE FROM usage_1d WHERE (tenant, day, class, model) IN (SELECT tenant, day, class, model FROM usage_1d INDEXED BY usage_1d_age WHERE day < ? LIMIT ?)`)
	pruneEvents  = writes(`DELETE FROM events_15m WHERE (tenant, bucket, kind) IN (SELECT tenant, bucket, kind FROM events_15m INDEXED BY events_15m_age WHERE bucket < ? LIMIT ?)`)
	pruneMinutes = writes(`DELETE FROM batch_minutes WHERE (batch, minute) IN (SELECT batch, minute FROM batch_minutes INDEXED BY batch_minutes_age WHERE minute < ? LIMIT ?)`)
	pruneFlow    = writes(`DELETE FROM model_minutes WHERE (minute, model) IN (SELECT minute, model FROM model_minutes WHERE minute < ? ORDER BY minute LIMIT ?)`)
)

// UsageSeries sums usage by class over steps.
func (s *Store) UsageSeries(ctx context.Context, tenant, model string, p batch.Period) (points []batch.UsagePoint, err error) {
	b := store.BoundsOf(p)
	err = s.read(ctx, "summing usage", func(t *tx) error {
		statement := usageSeries
		if b.Daily {
			statement = dailySeries
		}
		points, err = all(ctx, t, statement, store.ScanUsagePoint, tenant, b.From, b.To, b.Step, model)
		return err
	})
	return points, err
}

// UsageByModel sums usage by class and model.
func (s *Store) UsageByModel(ctx context.Context, tenant string, p batch.Period) (records []batch.UsageRecord, err error) {
	p.Step = 0 // totals have no steps
	b := store.BoundsOf(p)
	err = s.read(ctx, "summing usage", func(t *tx) error {
		statement := usageByModel
		if b.Long() {
			statement = dailyByModel
		}
		records, err = all(ctx, t, statement, store.ScanModelUsage, tenant, b.From, b.To)
		return err
	})
	return records, err
}

// Events counts events by kind over steps.
func (s *Store) Events(ctx context.Context, tenant string, p batch.Period) (points []batch.EventPoint, err error) {
	b := store.BoundsOf(p)
	err = s.read(ctx, "counting events", func(t *tx) error {
		points, err = all(ctx, t, eventSeries, store.ScanEvents, tenant, b.From, b.To, b.Step)
		return err
	})
	return points, err
}

// BatchStates counts batches by status.
func (s *Store) BatchStates(ctx context.Context, tenant string) (map[batch.Status]int64, error) {
	states := make(map[batch.Status]int64)
	err := s.read(ctx, "counting batches", func(t *tx) error {
		query, arguments := batchStates, []any{tenant}
		if tenant == batch.AllTenants {
			query, arguments = batchStatesOfAll, nil
		}
		counts, err := all(ctx, t, query, store.ScanStateCount, arguments...)
		for _, c := range counts {
			states[c.Status] = c.Batches
		}
		return err
	})
	return states, err
}

// QueuedLines sums lines without a result by key.
func (s *Store) QueuedLines(ctx context.Context, tenant string) (sums []batch.ClientQueued, err error) {
	err = s.read(ctx, "summing queued lines", func(t *tx) error {
		query, arguments := queuedLines, []any{tenant}
		if tenant == batch.AllTenants {
			query, arguments = queuedLinesOfAll, nil
		}
		sums, err = all(ctx, t, query, store.ScanClientQueued, arguments...)
		return err
	})
	return sums, err
}

// Waiting returns the remaining work of batches.
func (s *Store) Waiting(ctx context.Context, tenant string) (w batch.Waiting, err error) {
	err = s.read(ctx, "counting lines that wait", func(t *tx) error {
		w, err = one(ctx, t, waiting, store.ScanWaiting, tenant)
		return err
	})
	return w, err
}

// FileUses returns the batches that use files.
func (s *Store) FileUses(ctx context.Context, tenant string, ids []string, latest int) (map[string]batch.FileUse, error) {
	var found []store.FileUse
	err := s.read(ctx, "looking up uses of files", func(t *tx) error {
		for _, id := range ids {
			of, err := all(ctx, t, fileUses, store.ScanFileUse, tenant, id, batch.MaxFileUses, latest)
			if err != nil {
				return err
			}
			found = append(found, of...)
		}
		return nil
	})
	return store.UsesOf(found), err
}

// FileNames returns the names of files.
func (s *Store) FileNames(ctx context.Context, tenant string, ids []string) (map[string]string, error) {
	names := make(map[string]string, len(ids))
	err := s.read(ctx, "looking up names of files", func(t *tx) error {
		for _, id := range ids {
			name, err := one(ctx, t, fileName, store.Value[string], id, tenant)
			switch {
			case err == nil:
				names[id] = name
			case !errors.Is(err, batch.ErrNotFound):
				return err
			}
		}
		return nil
	})
	return names, err
}

// LargestFiles lists files by size.
func (s *Store) LargestFiles(ctx context.Context, tenant string, limit int) (files []batch.File, err error) {
	err = s.read(ctx, "listing large files", func(t *tx) error {
		files, err = all(ctx, t, largestFiles, store.ScanFile, store.Micros(t.now), tenant, store.LimitOf(limit))
		return err
	})
	return files, err
}

// Storage sums the sizes of contents.
func (s *Store) Storage(ctx context.Context, tenant string) (uses []batch.StorageUse, err error) {
	err = s.read(ctx, "summing storage", func(t *tx) error {
		uses, err = t.storage(ctx, tenant)
		return err
	})
	return uses, err
}

func (t *tx) storage(ctx context.Context, tenant string) ([]batch.StorageUse, error) {
	if tenant == batch.AllTenants {
		return all(ctx, t, allStorage, store.ScanStorage)
	}
	return all(ctx, t, storageUse, store.ScanStorage, tenant, batch.IndexTenant(tenant))
}

// TenantStorage sums what tenants store.
func (s *Store) TenantStorage(ctx context.Context, tenant string) (uses []batch.TenantStored, err error) {
	err = s.read(ctx, "summing storage by tenant", func(t *tx) error {
		if tenant == batch.AllTenants {
			uses, err = all(ctx, t, storageByTenant, store.ScanTenantStored, store.Micros(t.now))
		} else {
			uses, err = all(ctx, t, tenantStorage, store.ScanTenantStored, tenant, batch.IndexTenant(tenant), store.Micros(t.now))
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
		statement *statement
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
