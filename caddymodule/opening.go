package caddymodule

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/background"
)

const (
	openTimeout  = 5 * time.Minute // limit for opening, including migrations
	openPause    = time.Second     // initial backoff
	openPauseMax = 2 * time.Second // with outageGrace of package batch, well below the 10 s in which batches must continue
)

// openEngine opens the engine.
func (r *runtime) openEngine(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return r.engine.Open(ctx)
}

// startEngine starts the workers of an open engine.
func (r *runtime) startEngine() {
	// Before the first request, because keys that exist are required.
	if err := r.directory.Read(context.Background()); err != nil {
		r.log.Warn("reading keys failed", zap.Error(err))
	}
	r.hooks.Start(context.Background())
	r.engine.Start()
	r.following = background.NewGroup(context.Background())
	r.following.Start(r.directory.Run)
	r.following.Start(r.audit.Run)
	r.open.Store(true)
}

// openLater opens the engine as soon as its dependencies are available; live requests
// do not wait for it.
func (r *runtime) openLater(err error) {
	ctx, cancel := context.WithCancel(context.Background())
	r.stopOpening = cancel
	r.opening.Go(func() {
		for pause := openPause; err != nil; pause = min(2*pause, openPauseMax) {
			if before := r.closed.Swap(&err); before == nil || (*before).Error() != err.Error() {
				r.log.Warn("files and batches are not available yet", zap.Error(err))
			}
			timer := time.NewTimer(pause)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			err = r.openEngine(ctx)
		}
		r.startEngine()
		r.log.Info("files and batches are available")
	})
}
