package postgres

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	upstreamModels    = declare(`SELECT upstream, models FROM upstream_models ORDER BY told_at DESC LIMIT $1`)
	setUpstreamModels = declare(`INSERT INTO upstream_models (upstream, models, told_at) VALUES ($1, $2, $3)
		ON CONFLICT (upstream) DO UPDATE SET models = excluded.models, told_at = excluded.told_at`)
	forgetUpstreams = declare(`DELETE FROM upstream_models WHERE upstream = ANY (ARRAY(
		SELECT upstream FROM upstream_models ORDER BY told_at DESC LIMIT 100 OFFSET $1 FOR UPDATE SKIP LOCKED))`)
)

// UpstreamModels returns the last known models of upstreams.
func (s *Store) UpstreamModels(ctx context.Context) (models map[string]string, err error) {
	err = s.read(ctx, "reading models of upstreams", func(t *tx) error {
		told, err := all(ctx, t, store.ScanUpstreamModels, upstreamModels, batch.UpstreamsKept)
		models = store.ByUpstream(told)
		return err
	})
	return models, err
}

// SetUpstreamModels stores the models of one upstream.
func (s *Store) SetUpstreamModels(ctx context.Context, upstream, models string) error {
	return s.write(ctx, "setting models of an upstream", func(t *tx) error {
		if _, err := t.exec(ctx, setUpstreamModels, upstream, models, t.micros()); err != nil {
			return err
		}
		t.later(forgetUpstreams, batch.UpstreamsKept)
		return nil
	})
}
