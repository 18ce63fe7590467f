package sqlite

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	upstreamModels    = reads(`SELECT upstream, models FROM upstream_models ORDER BY told_at DESC LIMIT ?`)
	setUpstreamModels = writes(`INSERT INTO upstream_models (upstream, models, told_at) VALUES (?1, ?2, ?3)
		ON CONFLICT (upstream) DO UPDATE SET models = excluded.models, told_at = excluded.told_at`)
	forgetUpstreams = writes(`DELETE FROM upstream_models WHERE upstream IN (SELECT upstream FROM upstream_models ORDER BY told_at DESC LIMIT 100 OFFSET ?)`)
)

// UpstreamModels returns the last known models of upstreams.
func (s *Store) UpstreamModels(ctx context.Context) (models map[string]string, err error) {
	err = s.read(ctx, "reading models of upstreams", func(t *tx) error {
		told, err := all(ctx, t, upstreamModels, store.ScanUpstreamModels, batch.UpstreamsKept)
		models = store.ByUpstream(told)
		return err
	})
	return models, err
}

// SetUpstreamModels stores the models of one upstream.
func (s *Store) SetUpstreamModels(ctx context.Context, upstream, models string) error {
	return s.write(ctx, "setting models of an upstream", func(t *tx) error {
		if _, err := t.exec(ctx, setUpstreamModels, upstream, models, store.Micros(t.now)); err != nil {
			return err
		}
		_, err := t.exec(ctx, forgetUpstreams, batch.UpstreamsKept)
		return err
	})
}
