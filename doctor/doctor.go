package doctor

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/descriptors"
	"github.com/tidegate/tidegate/upstreams"
)

// Verdict is what came of a check.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "ok"
	Doubted Verdict = "warning"
	Failed  Verdict = "failed"
	Unknown Verdict = "unknown" // it could not be checked
)

// The areas of checks, in the order in which they are shown.
const (
	Gateway   = "gateway"
	Store     = "store"
	Queue     = "queue"
	Files     = "files"
	Upstreams = "upstreams"
)

// Check is one thing that was looked at.
type Check struct {
	Area    string  `json:"area"`
	Name    string  `json:"name"` // "clock against the database"
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`            // "4 ms behind"
	Remedy  string  `json:"remedy,omitempty"` // "" when there is nothing to do
	// Topic is what the check is about, for readers that know it from elsewhere;
	// "" for everything else.
	Topic Topic `json:"-"`
}

// Topic is what a check is about.
type Topic string

// The topics of checks that readers know from elsewhere: the pool's status and
// problems, the engine's health, space and memory.
const (
	ServerTopic Topic = "server"
	ModelTopic  Topic = "model"
	PartTopic   Topic = "part"
	SpaceTopic  Topic = "space"
	MemoryTopic Topic = "memory"
)

// Report is what the doctor found.
type Report struct {
	At     time.Time `json:"at"`
	Checks []Check   `json:"checks"`
}

// Engine is what the doctor asks of the batch engine.
type Engine interface {
	StoreTime(ctx context.Context) (time.Time, error)
	Space() (s batch.Space, known bool, err error)
	Capacity() batch.Capacity
	Role() batch.Role
	Missing() (m batch.Missing, ok bool)
	Quarantine() (q batch.Quarantine, ok bool)
}

// Pool is what it asks of the pool.
type Pool interface {
	Status() []upstreams.UpstreamStatus
	Facts() map[string]upstreams.Facts
	Slots() int
	Peers() int
	// Problems are the models with which something is wrong.
	Problems() []upstreams.ModelStatus
	// Prices are what batch costs live requests, by model; empty when that is not
	// measured.
	Prices() []upstreams.Price
	// BatchHours is the share of their slots that batches may use now; ok is false
	// without hours.
	BatchHours() (now upstreams.BatchHours, ok bool)
	// Shortage is what the gateway has run out of, nil for nothing.
	Shortage() *upstreams.Shortage
	// TryPriority finds out by a request for one token whether a server
	// accepts a priority.
	TryPriority(ctx context.Context, url string) (bool, error)
}

// Config is what a Doctor looks at.
type Config struct {
	Engine Engine
	Pool   Pool
	// Health is how the engine is, also while it is not open.
	Health func(context.Context) batch.Health
	// Keys tells whether clients must show an API key.
	Keys func() bool
	// Local reports whether clients on other machines are refused. nil: they are not.
	Local func() bool
	// Loose returns the files and directories that other users of the machine have
	// access to and should not have; may be nil.
	Loose func() []string
	Now   func() time.Time // nil: time.Now
	// Descriptors gives how many files the process has open and may have open,
	// of which nothing is known where that is 0; nil: of this process.
	Descriptors func() (open, most int64)
}

// Doctor looks, when it is asked. It is safe for concurrent use.
type Doctor struct {
	Config

	turn chan struct{} // taken while somebody looks
	last Report        // of who has the turn

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
	reportAge = 5 * time.Second // how old a report may be
	patience  = 3 * time.Second // how long one check may take
)

// Checks looks at everything, or gives what was found a moment ago.
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
		func() []Check { return append(d.space(), d.contents()) },
		func() []Check { return d.servers(ctx) },
	) {
		r.Checks = append(r.Checks, checks...)
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err // what was found may be wrong
	}
	byArea(r.Checks)
	d.last = r
	return r, nil
}

// Present returns what is wrong at this moment: the checks that do not pass,
// without advice about settings and without anything that costs a request. Every
// check that Checks finds failed is among them. h is how the engine is.
func (d *Doctor) Present(ctx context.Context, h batch.Health) []Check {
	all := append(d.shortages(), d.memory())
	all = append(all, d.permissions()...)
	all = append(all, d.parts(h)...)
	if h.Store == batch.Well {
		all = append(all, d.clock(ctx)...)
	}
	all = append(append(all, d.space()...), d.contents())
	all = append(all, d.states()...)
	all = slices.DeleteFunc(all, func(c Check) bool { return c.Verdict != Doubted && c.Verdict != Failed })
	byArea(all)
	return all
}

// byArea puts checks into the order in which they are shown.
func byArea(checks []Check) {
	order := []string{Gateway, Store, Queue, Files, Upstreams}
	slices.SortStableFunc(checks, func(a, b Check) int {
		return cmp.Compare(slices.Index(order, a.Area), slices.Index(order, b.Area))
	})
}

// each runs all at once and gives their results in order.
func each(all ...func() []Check) [][]Check {
	out := make([][]Check, len(all))
	var running sync.WaitGroup
	for i, f := range all {
		running.Go(func() { out[i] = f() })
	}
	running.Wait()
	return out
}
