package engine

import (
	"context"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// modelsInterval is how often it is looked at what upstreams told.
const modelsInterval = 2 * time.Second

// recallModels hands the stored models to the pool.
func (e *Engine) recallModels(ctx context.Context) error {
	pool, ok := e.dispatcher.(batch.ModelTeller)
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
	pool, ok := e.dispatcher.(batch.ModelTeller)
	if !ok {
		return
	}
	for wait.Sleep(ctx, modelsInterval) {
		bounded, cancel := e.bounded(ctx)
		e.health.noteHousekeeping("storing models of upstreams", e.storeModels(bounded, pool.ToldModels()))
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
