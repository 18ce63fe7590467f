package caddymodule

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/internal/background"
	"github.com/tidegate/tidegate/internal/wait"
)

// limitsSaved is the time between two writes of the use of limits, while it changes.
const limitsSaved = time.Second

// limitKeeper stores the use of limits in the data directory, so that a restart does not
// renew it.
type limitKeeper struct {
	*limits.Limiter
	log  *zap.Logger
	path string
	runs *background.Group
}

// keepLimits reads what an earlier process used, and stores the use from now on. The
// directory of the first configuration is kept. The caller holds mu.
func (p *sharedPool) keepLimits(dataDir string) {
	if p.keeper != nil {
		return
	}
	k := &limitKeeper{Limiter: p.limits, log: p.log, path: filepath.Join(dataDir, "tidegate-limits.json"), runs: background.NewGroup(context.Background())}
	if err := k.Load(k.path); err != nil {
		k.log.Warn("use of limits before the restart is not known", zap.Error(err))
	}
	k.runs.Start(k.run)
	p.keeper = k
}

func (k *limitKeeper) run(ctx context.Context) {
	for wait.Sleep(ctx, limitsSaved) {
		k.save()
	}
	k.save()
}

func (k *limitKeeper) save() {
	if err := k.Save(k.path); err != nil {
		k.log.Warn("storing the use of limits failed: a restart renews it", zap.Error(err))
	}
}

func (k *limitKeeper) stop() {
	k.runs.Stop()
	k.runs.Wait()
}

// limitList is the response of GET /limits.
type limitList struct {
	Object string         `json:"object"` // "list"
	Data   []limits.Usage `json:"data"`
}

// showLimits answers with the use of limits.
func (h *APIHandler) showLimits(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, http.StatusOK, limitList{"list", h.app.pool.limits.Usage()})
}
