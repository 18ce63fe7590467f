package batch

import (
	"context"
	"fmt"
	"time"
)

const (
	// collectChunk bounds the work of one statement of the collector.
	collectChunk = 500
	// orphanAge is how old a content without a row must be: younger ones may
	// be about to get it.
	orphanAge = time.Hour
	// orphanInterval is how often contents are compared with rows.
	orphanInterval = time.Hour
)

// runExpirer watches deadlines of batches.
func (e *Engine) runExpirer(ctx context.Context) {
	for sleep(ctx, e.config().ExpireInterval) {
		bounded, cancel := e.bounded(ctx)
		ids, err := e.store.ExpireBatches(bounded, collectChunk)
		cancel()
		e.note("watching deadlines", err)
		for _, id := range ids {
			e.log.Info("batch reached its deadline", zapBatch(id))
			e.runner.abandon(id)
		}
		if len(ids) > 0 {
			e.notify()
		}
	}
}

// runCollector removes what is over: work of finished batches, files that were
// deleted or expired, uploads that were never completed, contents that no row
// names.
func (e *Engine) runCollector(ctx context.Context) {
	var swept time.Time
	for {
		err := e.collect(ctx)
		if err == nil && time.Since(swept) >= orphanInterval {
			if err = e.sweepOrphans(ctx); err == nil {
				swept = time.Now()
			}
		}
		e.note("collecting what expired", err)
		if !sleep(ctx, e.config().CollectInterval) {
			return
		}
	}
}

// collect does one round.
func (e *Engine) collect(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context, int) (int, error)
	}{
		{"expiring uploads", e.store.ExpireUploads},
		{"dropping finished work", e.store.DropWork},
		{"deleting contents", e.deleteGarbage},
		{"forgetting deleted objects", e.store.Forget},
		{"pruning history", e.store.PruneHistory},
	} {
		for {
			bounded, cancel := e.bounded(ctx)
			n, err := step.do(bounded, collectChunk)
			cancel()
			if err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			if n == 0 {
				break
			}
		}
	}
	return nil
}

func (e *Engine) deleteGarbage(ctx context.Context, limit int) (int, error) {
	keys, err := e.store.Garbage(ctx, limit)
	if err != nil {
		return 0, err
	}
	gone := 0
	for ; gone < len(keys); gone++ {
		if err = e.files.Delete(ctx, keys[gone]); err != nil {
			break
		}
	}
	if gone == 0 {
		return 0, err
	}
	// What is gone is noted also when one failed or time ran out: a slow object
	// store would have the same ones to delete for ever. The one that failed is
	// the first of the next call.
	noting, cancel := e.bounded(context.WithoutCancel(ctx))
	defer cancel()
	return gone, e.store.Collected(noting, keys[:gone])
}

// sweepOrphans deletes contents that no row names: what a crash left between
// a content and its row.
func (e *Engine) sweepOrphans(ctx context.Context) error {
	var old []string
	flush := func() error {
		unknown, err := e.store.UnknownKeys(ctx, old)
		if err != nil {
			return fmt.Errorf("looking for orphaned contents: %w", err)
		}
		for _, key := range unknown {
			if err := e.files.Delete(ctx, key); err != nil {
				return fmt.Errorf("deleting orphaned content: %w", err)
			}
		}
		old = old[:0]
		return nil
	}
	err := e.files.List(ctx, func(key string, modified time.Time) error {
		if time.Since(modified) < orphanAge {
			return nil
		}
		if old = append(old, key); len(old) == collectChunk {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}
