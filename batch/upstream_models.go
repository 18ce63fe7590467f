package batch

import (
	"context"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"
)

// UpstreamModelStore remembers what models upstreams told, so that a gateway that
// is started while they are away does not call their models unknown.
type UpstreamModelStore interface {
	// UpstreamModels returns what was set last, by upstream.
	UpstreamModels(ctx context.Context) (map[string]string, error)
	// SetUpstreamModels sets the models of an upstream, as text. What was set
	// longest ago is forgotten when there are over a thousand upstreams.
	SetUpstreamModels(ctx context.Context, upstream, models string) error
}

// UpstreamsKept is how many upstreams an UpstreamModelStore remembers.
const UpstreamsKept = 1000

// ModelTeller is what a Dispatcher offers besides, if it finds out which models
// upstreams have.
type ModelTeller interface {
	// ToldModels returns what upstreams told, by upstream, as text. Those that
	// have told none yet are left out.
	ToldModels() map[string]string
	// RecallModels has upstreams that have told none yet have those that
	// ToldModels returned before, in this process or in another.
	RecallModels(models map[string]string)
}

// modelsInterval is how often it is looked at what upstreams told.
const modelsInterval = 2 * time.Second

// recallModels hands the stored models to the pool.
func (e *Engine) recallModels(ctx context.Context) error {
	pool, ok := e.dispatcher.(ModelTeller)
	if !ok {
		return nil
	}
	stored, err := e.store.UpstreamModels(ctx)
	if err != nil {
		return fmt.Errorf("reading models of upstreams: %w", err)
	}
	e.knownModels = make(map[string]string, len(stored))
	maps.Copy(e.knownModels, stored)
	pool.RecallModels(stored)
	return nil
}

// runModelMemory stores what upstreams tell of their models when it changes.
func (e *Engine) runModelMemory(ctx context.Context) {
	pool, ok := e.dispatcher.(ModelTeller)
	if !ok {
		return
	}
	for sleep(ctx, modelsInterval) {
		bounded, cancel := e.bounded(ctx)
		e.note("storing models of upstreams", e.storeModels(bounded, pool.ToldModels()))
		cancel()
	}
}

func (e *Engine) storeModels(ctx context.Context, told map[string]string) error {
	for upstream, models := range told {
		if e.knownModels[upstream] == models {
			continue
		}
		if err := e.store.SetUpstreamModels(ctx, upstream, models); err != nil {
			return err
		}
		e.knownModels[upstream] = models
		e.log.Info("models of an upstream stored", zap.String("upstream", upstream))
	}
	return nil
}
