package doctor

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/descriptors"
	"github.com/tidegate/tidegate/upstreams"
)

// Verdict is the result of a check.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "ok"
	Doubted Verdict = "warning"
	Failed  Verdict = "failed"
	Unknown Verdict = "unknown" // it could not be checked
)

// The areas of checks, in display order.
const (
	Gateway   = "gateway"
	Store     = "store"
	Queue     = "queue"
	Files     = "files"
	Upstreams = "upstreams"
)

// Check is the result of one check.
type Check struct {
	Area    string  `json:"area"`
	Name    string  `json:"name"` // "clock against the database"
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`            // "4 ms behind"
	Remedy  string  `json:"remedy,omitempty"` // "" when there is nothing to do
	// Topic is the subject of a check, for readers that know it from other sources; ""
	// for other subjects.
	Topic Topic `json:"-"`
	// Tenant is the tenant of the batch that the check concerns; "" for other checks.
	Tenant string `json:"-"`
	// Model is the model that the check concerns; "" for other checks.
	Model string `json:"-"`
}

// Topic is the subject of a check.
type Topic string

// The topics of checks that are also available elsewhere: the pool's status and
// problems, the engine's health, disk space and memory.
const (
	ServerTopic Topic = "server"
	ModelTopic  Topic = "model"
	PartTopic   Topic = "part"
	SpaceTopic  Topic = "space"
	MemoryTopic Topic = "memory"
)

// Report contains the results of all checks.
type Report struct {
	At     time.Time `json:"at"`
	Checks []Check   `json:"checks"`
}

// Of returns the report without checks that concern batches of other tenants.
func (r Report) Of(tenant string) Report {
	r.Checks = ofTenant(tenant, r.Checks)
	return r
}

func ofTenant(tenant string, checks []Check) []Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return c.Tenant != "" && c.Tenant != tenant })
}

// For returns the report as a client sees it, see Visible.
func (r Report) For(client access.Identity) Report {
	r.Checks = Visible(client, r.Checks)
	return r
}

// Visible returns the checks that a client sees: without those of batches of other tenants
// and of models that it does not see.
func Visible(client access.Identity, checks []Check) []Check {
	if !client.SeesTenants() {
		checks = ofTenant(client.Tenant, checks)
	}
	return access.Visible(client, checks, func(c Check) string { return c.Model })
}

// Engine is the part of the batch engine that the doctor uses.
type Engine interface {
	StoreTime(ctx context.Context) (time.Time, error)
	ConnectionLimits(ctx context.Context) (l batch.ConnectionLimits, ok bool, err error)
	Space() (s batch.Space, known bool, err error)
	Capacity() engine.Capacity
	Role() batch.Role
	Missing() (m engine.Missing, ok bool)
	Quarantine() (q engine.Quarantine, ok bool)
}

// Pool is the part of the pool that the doctor uses.
type Pool interface {
	Status() []upstreams.UpstreamStatus
	Facts() map[string]upstreams.Facts
	Slots() int
	Peers() int
	// Problems returns the models with problems.
	Problems() []upstreams.ModelStatus
	// Prices returns the price of batch by model; empty if it is not measured.
	Prices() []upstreams.Price
	// BatchHours returns the share of their slots that batches may use now; ok is
	// false without hours.
	BatchHours() (now upstreams.BatchHours, ok bool)
	// Shortage returns a resource that the gateway has run out of, or nil.
	Shortage() *upstreams.Shortage
	// TryPriority reports whether a server accepts a priority, by sending a request
	// for one token.
	TryPriority(ctx context.Context, url string) (bool, error)
}

// Config configures a Doctor.
type Config struct {
	Engine Engine
	Pool   Pool
	// Health returns the engine's health, also while it is not open.
	Health func(context.Context) engine.Health
	// Keys reports whether clients must send an API key.
	Keys func() bool
	// Local reports whether clients on other machines are refused. nil: they are not.
	Local func() bool
	// Loose returns the files and directories that other users of the machine have
	// access to but should not; may be nil.
	Loose func() []string
	Now   func() time.Time // nil: time.Now
	// Descriptors returns how many files the process has open and may have open, 0 if
	// not known; nil: of this process.
	Descriptors func() (open, most int64)
}

// Doctor runs checks on demand. It is safe for concurrent use.
type Doctor struct {
	Config

	turn chan struct{} // held while the checks run
	last Report        // guarded by turn

	asking     sync.Mutex
	priorities map[string]scheduled // guarded by asking; by URL
}

// New makes a Doctor.
func New(cfg Config) *Doctor {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Descriptors == nil {
		cfg.Descriptors = descriptors.Count
	}
	return &Doctor{Config: cfg, turn: make(chan struct{}, 1), priorities: make(map[string]scheduled)}
}

const (
	reportAge = 5 * time.Second // maximum age of a report that is returned again
	patience  = 3 * time.Second // timeout of one check
)

// Checks runs all checks, or returns a report of at most reportAge.
func (d *Doctor) Checks(ctx context.Context) (Report, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return Report{}, ctx.Err()
	}
	now := d.Now()
	if age := now.Sub(d.last.At); !d.last.At.IsZero() && age >= 0 && age < reportAge {
		return d.last, nil
	}
	r := Report{At: now}
	for _, checks := range each(
		func() []Check { return d.gateway() },
		func() []Check { return d.asked(ctx) },
		func() []Check { return d.clock(ctx) },
		func() []Check { return d.connections(ctx) },
		func() []Check { return append(d.space(), d.contents()) },
		func() []Check { return d.servers(ctx) },
	) {
		r.Checks = append(r.Checks, checks...)
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err // the results may be wrong
	}
	byArea(r.Checks)
	d.last = r
	return r, nil
}

// Present returns the current problems: the checks that do not pass, without advice
// about settings and without checks that send a request. Every check that fails in
// Checks is included. h is the engine's health.
func (d *Doctor) Present(ctx context.Context, h engine.Health) []Check {
	all := append(d.shortages(), d.memory())
	all = append(all, d.permissions()...)
	all = append(all, d.parts(h)...)
	if h.Store == engine.StatusOK {
		all = append(all, d.clock(ctx)...)
		all = append(all, d.connections(ctx)...)
	}
	all = append(append(all, d.space()...), d.contents())
	all = append(all, d.states()...)
	all = slices.DeleteFunc(all, func(c Check) bool { return c.Verdict != Doubted && c.Verdict != Failed })
	byArea(all)
	return all
}

// byArea sorts checks in display order.
func byArea(checks []Check) {
	order := []string{Gateway, Store, Queue, Files, Upstreams}
	slices.SortStableFunc(checks, func(a, b Check) int {
		return cmp.Compare(slices.Index(order, a.Area), slices.Index(order, b.Area))
	})
}

// each runs all functions concurrently and returns their results in order.
func each(all ...func() []Check) [][]Check {
	out := make([][]Check, len(all))
	var running sync.WaitGroup
	for i, f := range all {
		running.Go(func() { out[i] = f() })
	}
	running.Wait()
	return out
}
