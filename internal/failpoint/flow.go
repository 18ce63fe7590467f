package failpoint

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
)

func (s *store) Flow(ctx context.Context, since time.Time, limit int) ([]batch.ModelMinute, error) {
	return get(s.set, "store.Flow", func() ([]batch.ModelMinute, error) { return s.Store.Flow(ctx, since, limit) })
}

func (s *store) WaitingBatches(ctx context.Context, limit int) ([]batch.Batch, error) {
	return get(s.set, "store.WaitingBatches", func() ([]batch.Batch, error) { return s.Store.WaitingBatches(ctx, limit) })
}

func (s *store) CountLines(ctx context.Context, c batch.BatchClaim, lines []batch.ModelLines) error {
	return s.set.do("store.CountLines", func() error { return s.Store.CountLines(ctx, c, lines) })
}

func (s *store) BatchModels(ctx context.Context, limit int) ([]batch.BatchModel, error) {
	return get(s.set, "store.BatchModels", func() ([]batch.BatchModel, error) { return s.Store.BatchModels(ctx, limit) })
}
