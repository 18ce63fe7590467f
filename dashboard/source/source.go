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

// Config configures a source.
type Config struct {
	Tenant string
	Engine *engine.Engine
	Files  *upload.Service
	Pool   *upstreams.Pool
	Doctor Doctor
	// Health returns the engine's health, also while it is not open.
	Health func(context.Context) engine.Health
	// Started is when the gateway started: nothing is measured before.
	Started time.Time
	Now     func() time.Time // nil: time.Now
	// Audited returns a change of a server that is audited when it was made. nil: it is
	// not audited.
	Audited func(ctx context.Context, action batch.AuditAction, change func(url string) error) func(url string) error
	// Keys manages API keys.
	Keys dashboard.Keys
	// Webhooks shows and tests webhooks.
	Webhooks dashboard.Webhooks
	// Limits shows limits and their use.
	Limits dashboard.Limits
}

// Doctor runs checks.
type Doctor interface {
	dashboard.Doctor
	// Present returns the current problems for the health h of the engine.
	Present(ctx context.Context, h engine.Health) []doctor.Check
}

// New returns a dashboard's source. It does no I/O and starts no goroutine.
func New(cfg Config) dashboard.Source {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &source{Config: cfg}
	s.health = remember(healthAge, cfg.Now, func(ctx context.Context) (engine.Health, error) { return cfg.Health(ctx).Of(cfg.Tenant), nil })
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
		Overview: newOverview(s), Throughput: throughput{s}, Usage: costs{s}, Limits: cfg.Limits, Batches: batches,
		Files: &files{source: s}, Upstreams: newServers(s), Doctor: tenantDoctor{cfg.Doctor, cfg.Tenant}, Audit: auditLog{s}, Keys: cfg.Keys, Webhooks: cfg.Webhooks,
	}
}

// auditLog is the log of all tenants.
type auditLog struct{ *source }

// Entries returns a page of the log.
func (a auditLog) Entries(ctx context.Context, q batch.AuditQuery) ([]batch.AuditEntry, bool, error) {
	return a.Engine.Store().AuditEntries(ctx, q)
}

// tenantDoctor is a doctor of one tenant's pages.
type tenantDoctor struct {
	dashboard.Doctor
	tenant string
}

// Checks returns the report without checks that concern batches of other tenants.
func (d tenantDoctor) Checks(ctx context.Context) (doctor.Report, error) {
	report, err := d.Doctor.Checks(ctx)
	return report.Of(d.tenant), err
}

// source holds the data that all parts share.
type source struct {
	Config
	health  *remembered[engine.Health]
	present *remembered[[]doctor.Check]
	meter   meter
}

func (s *source) analytics() batch.AnalyticsStore { return s.Engine.Analytics() }

// healthAge is the maximum age of the cached engine health, because checking it
// writes to a disk.
const healthAge = 3 * time.Second

// presentAge is the maximum age of the cached findings of the doctor, because checks
// query the store.
const presentAge = 5 * time.Second
