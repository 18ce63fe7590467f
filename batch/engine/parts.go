package engine

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/wait"
)

// parts are the drivers, the settings and the state that all components of an engine
// share.
type parts struct {
	settings   atomic.Pointer[batch.Config]
	owner      string // this instance, in leases
	store      *timedStore
	queue      *lazyQueue
	files      batch.Files
	dispatcher batch.Dispatcher
	scheduler  *scheduler.Scheduler
	health     health
	arriving   upload.Arriving // with results that are written
	log        *zap.Logger
	workerBell chan struct{}
}

func (p *parts) config() *batch.Config { return p.settings.Load() }

// Role returns the role of this gateway.
func (p *parts) Role() batch.Role { return p.config().Role }

func (p *parts) wakeWorkers() { wait.Ring(p.workerBell) }

// storeTimeout bounds every statement of background work.
const storeTimeout = 30 * time.Second

func (p *parts) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, storeTimeout)
}

// Owner identifies this gateway in its claims.
func (p *parts) Owner() string { return p.owner }
