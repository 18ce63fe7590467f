package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler"
)

// loadingError reports that a batch names a model that no upstream serves, while an
// upstream loads that may serve it.
type loadingError struct{ model string }

func (e *loadingError) Error() string {
	return fmt.Sprintf("waiting for an upstream that is loading: no upstream serves the model %q yet", e.model)
}

// countedBatches remembers the models of batches that wait for one, so that their
// inputs are read again only when all of these are known.
type countedBatches struct {
	mu     sync.Mutex
	models map[string][]string // by batch, at most activeLimit; guarded by mu
}

// countWaiting stores how many lines a batch has of each model that waits for one of
// them, for Demand. It returns a *loadingError.
func (v *validator) countWaiting(ctx context.Context, c batch.BatchClaim, s *scan) error {
	lines := modelLines(s.models)
	if err := v.store.CountLines(ctx, c, lines); err != nil {
		return fmt.Errorf("storing the lines of a waiting batch: %w", err)
	}
	models := make([]string, 0, len(lines))
	for _, l := range lines {
		if l.Model != "" {
			models = append(models, l.Model)
		}
	}
	w := &v.counted
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.models == nil || len(w.models) >= scheduler.ActiveLimit { // those that still wait are read once more
		w.models = make(map[string][]string)
	}
	w.models[c.Batch.ID] = models
	return &loadingError{s.loading}
}

// awaitCounted returns a *loadingError for a batch whose lines were counted and that has a
// model which is still unknown. It does not wait, because a worker has many such batches
// and others behind them.
func (v *validator) awaitCounted(id string) error {
	w := &v.counted
	w.mu.Lock()
	models := w.models[id]
	w.mu.Unlock()
	for _, model := range models {
		if known, discovered := v.dispatcher.Serves(model); !known && !discovered {
			return &loadingError{model}
		}
	}
	w.mu.Lock()
	delete(w.models, id)
	w.mu.Unlock()
	return nil
}

// modelLines are the lines of models, those with the most first. What is beyond
// MaxInspectedModels is summed as the model "".
func modelLines(models map[string]*scannedModel) []batch.ModelLines {
	lines := make([]batch.ModelLines, 0, len(models)+1)
	for name, m := range models {
		lines = append(lines, batch.ModelLines{Model: name, Lines: m.lines})
	}
	slices.SortFunc(lines, func(a, b batch.ModelLines) int {
		return cmp.Or(cmp.Compare(b.Lines, a.Lines), cmp.Compare(a.Model, b.Model))
	})
	if len(lines) <= MaxInspectedModels {
		return lines
	}
	rest := batch.ModelLines{}
	for _, l := range lines[MaxInspectedModels:] {
		rest.Lines += l.Lines
	}
	return append(lines[:MaxInspectedModels:MaxInspectedModels], rest)
}
