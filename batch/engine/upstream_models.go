package engine

import (
	"context"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/wait"
)

// modelsInterval is the time between checks for newly discovered models.
const modelsInterval = 2 * time.Second

// recallModels passes the stored models of upstreams to the dispatcher.
func (e *Engine) recallModels(ctx context.Context) error {
	discovery := e.dispatcher.Capabilities().Models
	if discovery == nil {
		return nil
	}
	stored, err := e.store.UpstreamModels(ctx)
	if err != nil {
		return fmt.Errorf("reading models of upstreams: %w", err)
	}
	e.knownModels = make(map[string]string, len(stored))
	maps.Copy(e.knownModels, stored)
	discovery.RecallModels(stored)
	return nil
}

// runModelMemory stores the discovered models of upstreams when they change.
func (e *Engine) runModelMemory(ctx context.Context) {
	discovery := e.dispatcher.Capabilities().Models
	if discovery == nil {
		return
	}
	for wait.Sleep(ctx, modelsInterval) {
		bounded, cancel := e.bounded(ctx)
		e.health.noteHousekeeping("storing models of upstreams", e.storeModels(bounded, discovery.DiscoveredModels()))
		cancel()
	}
}

func (e *Engine) storeModels(ctx context.Context, discovered map[string]string) error {
	for upstream, models := range discovered {
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
