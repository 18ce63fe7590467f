package failpoint

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
)

func (s *store) Progress(ctx context.Context, ids []string, since time.Time) (map[string][]batch.Minute, error) {
	return get(s.set, "store.Progress", func() (map[string][]batch.Minute, error) { return s.Store.Progress(ctx, ids, since) })
}

func (s *store) Pace(ctx context.Context, since time.Time, limit int) ([]batch.Pace, error) {
	return get(s.set, "store.Pace", func() ([]batch.Pace, error) { return s.Store.Pace(ctx, since, limit) })
}

func (s *store) UsageSeries(ctx context.Context, tenant, model string, p batch.Period) ([]batch.UsagePoint, error) {
	return get(s.set, "store.UsageSeries", func() ([]batch.UsagePoint, error) { return s.Store.UsageSeries(ctx, tenant, model, p) })
}

func (s *store) UsageByModel(ctx context.Context, tenant string, p batch.Period) ([]batch.UsageRecord, error) {
	return get(s.set, "store.UsageByModel", func() ([]batch.UsageRecord, error) { return s.Store.UsageByModel(ctx, tenant, p) })
}

func (s *store) Events(ctx context.Context, tenant string, p batch.Period) ([]batch.EventPoint, error) {
	return get(s.set, "store.Events", func() ([]batch.EventPoint, error) { return s.Store.Events(ctx, tenant, p) })
}

func (s *store) BatchStates(ctx context.Context, tenant string) (map[batch.Status]int64, error) {
	return get(s.set, "store.BatchStates", func() (map[batch.Status]int64, error) { return s.Store.BatchStates(ctx, tenant) })
}

func (s *store) Waiting(ctx context.Context, tenant string) (batch.Waiting, error) {
	return get(s.set, "store.Waiting", func() (batch.Waiting, error) { return s.Store.Waiting(ctx, tenant) })
}

func (s *store) FindBatches(ctx context.Context, tenant string, f batch.BatchFilter) (batch.BatchPage, error) {
	return get(s.set, "store.FindBatches", func() (batch.BatchPage, error) { return s.Store.FindBatches(ctx, tenant, f) })
}

func (s *store) FileUses(ctx context.Context, tenant string, ids []string, latest int) (map[string]batch.FileUse, error) {
	return get(s.set, "store.FileUses", func() (map[string]batch.FileUse, error) {
		return s.Store.FileUses(ctx, tenant, ids, latest)
	})
}

func (s *store) FileNames(ctx context.Context, tenant string, ids []string) (map[string]string, error) {
	return get(s.set, "store.FileNames", func() (map[string]string, error) { return s.Store.FileNames(ctx, tenant, ids) })
}

func (s *store) LargestFiles(ctx context.Context, tenant string, limit int) ([]batch.File, error) {
	return get(s.set, "store.LargestFiles", func() ([]batch.File, error) { return s.Store.LargestFiles(ctx, tenant, limit) })
}

func (s *store) Storage(ctx context.Context, tenant string) ([]batch.StorageUse, error) {
	return get(s.set, "store.Storage", func() ([]batch.StorageUse, error) { return s.Store.Storage(ctx, tenant) })
}

func (s *store) PruneHistory(ctx context.Context, limit int) (int, error) {
	return get(s.set, "store.PruneHistory", func() (int, error) { return s.Store.PruneHistory(ctx, limit) })
}
