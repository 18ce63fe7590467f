package source

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/upstreams"
)

// Config is what a source asks.
type Config struct {
	Tenant string
	Engine *engine.Engine
	Files  *upload.Service
	Pool   *upstreams.Pool
	Doctor Doctor
	// Health is how the engine is, also while it is not open.
	Health func(context.Context) engine.Health
	// Started is when the gateway began to work: nothing is measured before.
	Started time.Time
	Now     func() time.Time // nil: time.Now
}

// Doctor looks at every part.
type Doctor interface {
	dashboard.Doctor
	// Present is what is wrong now, with an engine as h says.
	Present(ctx context.Context, h engine.Health) []doctor.Check
}

// New makes a dashboard's source. It does no I/O and starts nothing.
func New(cfg Config) dashboard.Source {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &source{Config: cfg}
	s.health = remember(healthAge, cfg.Now, func(ctx context.Context) (engine.Health, error) { return cfg.Health(ctx), nil })
	s.present = remember(presentAge, cfg.Now, func(ctx context.Context) ([]doctor.Check, error) {
		health, err := s.health.get(ctx)
		if err != nil {
			return nil, err
		}
		return cfg.Doctor.Present(ctx, health), ctx.Err()
	})
	s.meter.read, s.meter.started = s.recentUsage, cfg.Started
	batches := &batches{source: s}
	batches.failures.age = failuresAge
	return dashboard.Source{
		Overview: newOverview(s), Throughput: throughput{s}, Batches: batches,
		Files: &files{source: s}, Upstreams: newServers(s), Doctor: cfg.Doctor,
	}
}

// source is what all parts have in common.
type source struct {
	Config
	health  *remembered[engine.Health]
	present *remembered[[]doctor.Check]
	meter   meter
}

func (s *source) analytics() batch.AnalyticsStore { return s.Engine.Analytics() }

// healthAge is how old what is said of the engine's health may be: asking for
// it writes to a disk.
const healthAge = 3 * time.Second

// presentAge is how old what the doctor found may be: it asks the store for the
// time.
const presentAge = 5 * time.Second
