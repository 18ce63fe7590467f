package failpoint

import (
	"context"

	"github.com/tidegate/tidegate/batch"
)

func (s *store) PauseBatch(ctx context.Context, tenant, id, reason string) (batch.Batch, error) {
	return get(s.set, "store.PauseBatch", func() (batch.Batch, error) { return s.Store.PauseBatch(ctx, tenant, id, reason) })
}

func (s *store) ResumeBatch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	return get(s.set, "store.ResumeBatch", func() (batch.Batch, error) { return s.Store.ResumeBatch(ctx, tenant, id) })
}

func (s *store) PrioritizeBatch(ctx context.Context, tenant, id string, priority int) (batch.Batch, error) {
	return get(s.set, "store.PrioritizeBatch", func() (batch.Batch, error) { return s.Store.PrioritizeBatch(ctx, tenant, id, priority) })
}

func (s *store) BatchOfKey(ctx context.Context, tenant, key, hash string) (batch.Batch, error) {
	return get(s.set, "store.BatchOfKey", func() (batch.Batch, error) { return s.Store.BatchOfKey(ctx, tenant, key, hash) })
}
