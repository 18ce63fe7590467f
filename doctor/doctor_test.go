package doctor_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/internal/descriptors"
	"github.com/tidegate/tidegate/upstreams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a gateway that a test plays.
type gateway struct {
	skew      time.Duration // of the store's clock
	clock     error
	space     batch.Space
	bounded   bool
	compared  bool // contents with rows
	missing   engine.Missing
	unknown   engine.Quarantine
	measuring error
	health    engine.Health
	limits    batch.ConnectionLimits
	limiting  error
	keys      bool
	open      int64
	most      int64
	slots     int
	memory    batch.Memory
	peers     int
	status    []upstreams.UpstreamStatus
	facts     map[string]upstreams.Facts
	prices    []upstreams.Price
	timed     *upstreams.BatchHours
	short     *upstreams.Shortage
	problems  []upstreams.ModelStatus
	priority  bool
	trying    error
	hang      bool // no server answers

	mu    sync.Mutex
	tries int // guarded by mu
}

func (g *gateway) StoreTime(context.Context) (time.Time, error) {
	return time.Now().Add(g.skew), g.clock
}

func (g *gateway) ConnectionLimits(context.Context) (batch.ConnectionLimits, bool, error) {
	return g.limits, g.limits != batch.ConnectionLimits{} || g.limiting != nil, g.limiting
}

func (g *gateway) Role() batch.Role { return g.health.Role }

func (g *gateway) Space() (batch.Space, bool, error) { return g.space, g.bounded, g.measuring }

func (g *gateway) Missing() (engine.Missing, bool)       { return g.missing, g.compared }
func (g *gateway) Quarantine() (engine.Quarantine, bool) { return g.unknown, g.compared }

func (g *gateway) Capacity() engine.Capacity {
	return engine.Capacity{MaxInFlight: 512, Memory: g.memory}
}
func (g *gateway) Status() []upstreams.UpstreamStatus { return g.status }
func (g *gateway) Facts() map[string]upstreams.Facts  { return g.facts }
func (g *gateway) Slots() int                         { return g.slots }
func (g *gateway) Shortage() *upstreams.Shortage      { return g.short }
func (g *gateway) Problems() []upstreams.ModelStatus  { return g.problems }
func (g *gateway) Prices() []upstreams.Price          { return g.prices }
func (g *gateway) BatchHours() (upstreams.BatchHours, bool) {
	if g.timed == nil {
		return upstreams.BatchHours{Share: 1}, false
	}
	return *g.timed, true
}
func (g *gateway) Peers() int { return g.peers }
func (g *gateway) TryPriority(ctx context.Context, _ string) (bool, error) {
	g.mu.Lock()
	g.tries++
	g.mu.Unlock()
	if g.hang {
		<-ctx.Done()
		return false, ctx.Err()
	}
	return g.priority, g.trying
}

const (
	one = "http://one:8000"
	two = "http://two:8000"
)

// well is a gateway on which nothing is wrong.
func well() *gateway {
	server := func(url string) upstreams.UpstreamStatus {
		return upstreams.UpstreamStatus{URL: url, State: upstreams.StateUp, Models: []string{"m"}, MaxModelLen: 4096, Version: "0.11.0", MaxNumSeqs: 256, HasMetrics: true}
	}
	known := upstreams.Facts{PrefixCaching: "True", Blocks: 100, BlockSize: 16, Scheduling: "fcfs", MaxNumSeqs: 256}
	return &gateway{
		space: batch.Space{Total: 1000, Free: 900, Reserve: 10}, bounded: true,
		compared: true, unknown: engine.Quarantine{Total: 100},
		memory: batch.Memory{Limit: 64 << 20, Taken: 1 << 20},
		health: engine.Health{Store: "ok", Queue: "ok", Files: "ok"}, keys: true, open: 50, most: 100_000,
		status: []upstreams.UpstreamStatus{server(one), server(two)},
		facts:  map[string]upstreams.Facts{one: known, two: known},
	}
}

func (g *gateway) doctor() *doctor.Doctor {
	return doctor.New(doctor.Config{
		Engine: g, Pool: g, Health: func(context.Context) engine.Health { return g.health }, Keys: func() bool { return g.keys },
		Descriptors: func() (int64, int64) { return g.open, g.most },
	})
}

// find returns the checks whose area and name say a text.
func find(r doctor.Report, text string) []doctor.Check {
	var found []doctor.Check
	for _, c := range r.Checks {
		if strings.Contains(c.Area+" "+c.Name, text) {
			found = append(found, c)
		}
	}
	return found
}

// TestChecks checks that a healthy gateway has no finding, and that each problem is found by
// exactly one check, with a remedy.
func TestChecks(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*gateway)
		check   string // area and name
		verdict doctor.Verdict
		found   string
	}{
		{"no keys", func(g *gateway) { g.keys = false }, "gateway API keys", doctor.Doubted, "none"},
		{"few descriptors", func(g *gateway) { g.most = 1024 }, "gateway file descriptors", doctor.Doubted, "4608"},
		{"descriptors run out", func(g *gateway) { g.open = 90_000 }, "gateway file descriptors", doctor.Failed, "90000 of 100000"},
		{"descriptors ran out", func(g *gateway) {
			g.short = &upstreams.Shortage{Resource: "file descriptors", Remedy: descriptors.Remedy, Count: 7}
		}, "gateway file descriptors", doctor.Failed, "7 connections"},
		{"ports ran out", func(g *gateway) {
			g.short = &upstreams.Shortage{Resource: "local ports", Remedy: "sysctl", Count: 7}
		}, "gateway local ports", doctor.Failed, "7 connections"},
		{"descriptors unknown", func(g *gateway) { g.most = 0 }, "gateway file descriptors", doctor.Unknown, ""},
		{"too few lines at a time", func(g *gateway) { g.slots = 704 }, "gateway lines at a time", doctor.Doubted, "512, for 704"},
		{"few lines at a time, of a gateway that only serves", func(g *gateway) { g.slots, g.health.Role = 704, batch.RoleServe }, "gateway lines at a time", doctor.Passed, "leaves batch work to other gateways"},
		{"batch work of a gateway that only serves", func(g *gateway) { g.health.Role = batch.RoleServe }, "gateway batch work", doctor.Passed, "leaves batch work to other gateways"},
		{"no gateway works", func(g *gateway) {
			g.health.Role, g.health.Paused = batch.RoleServe, engine.Problems{{Text: "no gateway works on batches"}}
		}, "gateway batch work", doctor.Doubted, "no gateway works"},
		{"too little memory", func(g *gateway) { g.memory.Wanted = 200<<20 - 1 }, "gateway memory for requests", doctor.Doubted, "fit into 64 MiB"},
		{"housekeeping", func(g *gateway) { g.health.Housekeeping = engine.Problems{{Text: "collecting what expired: refused"}} }, "gateway housekeeping", doctor.Doubted, "refused"},
		{"held up", func(g *gateway) { g.health.Paused = engine.Problems{{Text: "storing files: no space"}} }, "gateway batch work", doctor.Doubted, "no space"},
		{"a batch is held up", func(g *gateway) {
			g.health.Paused = engine.Problems{{Text: "batch b: refused", Tenant: "a"}}
		}, "gateway work on a batch", doctor.Doubted, "batch b: refused"},
		{"a batch was stopped", func(g *gateway) {
			g.health.Stopped = []engine.StoppedBatch{{ID: "batch_1", Reason: "100 lines failed"}}
		}, "gateway batch batch_1", doctor.Doubted, "100 lines failed"},
		{"store away", func(g *gateway) { g.health.Store = "dial: refused" }, "store answers", doctor.Failed, "refused"},
		{"queue away", func(g *gateway) { g.health.Queue = "dial: refused" }, "queue answers", doctor.Doubted, "refused"},
		{"files away", func(g *gateway) { g.health.Files = "read-only" }, "files can be written", doctor.Failed, "read-only"},
		{"clock ahead", func(g *gateway) { g.skew = 2 * time.Second }, "store clock", doctor.Doubted, "2s ahead"},
		{"clock far behind", func(g *gateway) { g.skew = -time.Minute }, "store clock", doctor.Failed, "1m0s behind"},
		{"clock unknown", func(g *gateway) { g.clock = errors.New("closed") }, "store clock", doctor.Unknown, "closed"},
		{"disk filling", func(g *gateway) { g.space.Free = 100 }, "files disk space", doctor.Doubted, "100 B of 1000 B"},
		{"disk full", func(g *gateway) { g.space.Free = 9 }, "files disk space", doctor.Failed, "9 B"},
		{"contents missing", func(g *gateway) { g.missing = engine.Missing{Files: 3, Some: []string{"file-a", "file-b"}} }, "files contents", doctor.Failed, "3 files have no content, among them file-a, file-b"},
		{"contents unknown", func(g *gateway) { g.unknown.Unknown = 10 }, "files contents", doctor.Doubted, "10 of 100"},
		{"many contents unknown", func(g *gateway) { g.unknown.Unknown = 11 }, "files contents", doctor.Failed, "11 of 100"},
		{"contents not compared", func(g *gateway) { g.compared = false }, "files contents", doctor.Unknown, "not compared yet"},
		{"disk unknown", func(g *gateway) { g.measuring = errors.New("gone") }, "files disk space", doctor.Unknown, "gone"},
		{"server down", func(g *gateway) {
			g.status = append(g.status, upstreams.UpstreamStatus{URL: "http://three", State: upstreams.StateDown, Reason: "refused"})
		}, "http://three: state", doctor.Failed, "refused"},
		{"server loading", func(g *gateway) {
			g.status = append(g.status, upstreams.UpstreamStatus{URL: "http://three", State: upstreams.StateLoading})
		}, "http://three: state", doctor.Doubted, "loading"},
		{"server suspect", func(g *gateway) { g.status[0].State = upstreams.StateSuspect }, one + ": state", doctor.Failed, "suspect"},
		{"server late", func(g *gateway) { g.status[0].State = upstreams.StateBusy }, one + ": state", doctor.Doubted, "busy"},
		{"no prefix cache", func(g *gateway) { g.change(one, func(f *upstreams.Facts) { f.PrefixCaching = "False" }) }, one + ": prefix", doctor.Doubted, "off"},
		{"prefix cache unknown", func(g *gateway) { g.change(one, func(f *upstreams.Facts) { f.PrefixCaching = "" }) }, one + ": prefix", doctor.Unknown, "does not report"},
		{"fewer at the server", func(g *gateway) { g.change(one, func(f *upstreams.Facts) { f.MaxNumSeqs = 64 }) }, one + ": max_num_seqs", doctor.Doubted, "256 here, 64"},
		{"more at the server", func(g *gateway) { g.change(one, func(f *upstreams.Facts) { f.MaxNumSeqs = 512 }) }, one + ": max_num_seqs", doctor.Doubted, "256 here, 512"},
		{"requests wait at the server", func(g *gateway) {
			g.change(one, func(f *upstreams.Facts) { f.MaxNumSeqs = 0 })
			g.status[0].Waiting, g.status[0].Running = 12, 32
		}, one + ": max_num_seqs", doctor.Doubted, "12 requests wait"},
		{"concurrency found", func(g *gateway) {
			g.change(one, func(f *upstreams.Facts) { f.MaxNumSeqs = 0 })
			g.status[0].MaxNumSeqsAssumed, g.status[0].Limit, g.status[0].LimitReason = true, 36, upstreams.LimitWaiting
		}, one + ": max_num_seqs", doctor.Passed, "36 requests concurrently, as measured so far: the server runs no more"},
		{"concurrency configured", func(g *gateway) { g.change(one, func(f *upstreams.Facts) { f.MaxNumSeqs = 0 }) }, one + ": max_num_seqs", doctor.Passed, "256, as configured"},
		{"priority refused", func(g *gateway) { g.change(one, func(f *upstreams.Facts) { f.Scheduling = "" }) }, one + ": priority", doctor.Passed, "off"},
		{"priority told", func(g *gateway) { g.change(one, func(f *upstreams.Facts) { f.Scheduling = "priority" }) }, one + ": priority", doctor.Passed, "on"},
		{"priority accepted", func(g *gateway) {
			g.change(one, func(f *upstreams.Facts) { f.Scheduling = "" })
			g.priority = true
		}, one + ": priority", doctor.Unknown, "accepted"},
		{"priority unknown", func(g *gateway) {
			g.change(one, func(f *upstreams.Facts) { f.Scheduling = "" })
			g.trying = errors.New("POST answers 404")
		}, one + ": priority", doctor.Unknown, "404"},
		{"not asked at work", func(g *gateway) {
			g.change(one, func(f *upstreams.Facts) { f.Scheduling = "" })
			g.status[0].LiveInFlight = 1
		}, one + ": priority", doctor.Unknown, "busy"},
		{"no server of a model", func(g *gateway) {
			g.problems = []upstreams.ModelStatus{{Model: "m", Problem: upstreams.ProblemNoServer, Failing: true, Reason: "it is drained", Remedy: "undrain it", Failed: 7}}
		}, "m: live requests", doctor.Failed, "No server takes requests for m: it is drained; 7 live requests failed since"},
		{"live requests fail", func(g *gateway) {
			g.problems = []upstreams.ModelStatus{{Problem: upstreams.ProblemErrors, Reason: "3 of 200", Remedy: "look"}}
		}, "upstreams live requests", doctor.Doubted, "3 of 200"},
		{"price measured", func(g *gateway) { g.price(1) }, "m: price of batch", doctor.Passed, "batch costs live +6.0 ms to the first token at p50 (+3 %; 95 % between +2.0 and +10 ms), +20 ms at p99"},
		{"price above the budget", func(g *gateway) { g.price(upstreams.BudgetLeast) }, "m: price of batch", doctor.Doubted, "batch_budget leaves batches 10 % of their slots"},
		{"price not measured", func(g *gateway) {
			g.prices = []upstreams.Price{{Model: "m", Slots: 1, Reason: "no live requests come"}}
		}, "m: price of batch", doctor.Unknown, "not measured yet: no live requests come"},
		{"hours", func(g *gateway) {
			g.timed = &upstreams.BatchHours{Share: 0.3, Until: time.Unix(1_800_000_000, 0).UTC(), Next: 1}
		}, "hours of batches", doctor.Passed, "batches may use 30 % of their slots, until Fri 08:00 UTC, then 100 %"},
		{"outside of the hours", func(g *gateway) {
			g.timed = &upstreams.BatchHours{Until: time.Unix(1_800_000_000, 0).UTC(), Next: 1}
		}, "hours of batches", doctor.Passed, "batches wait, until Fri 08:00 UTC"},
		{"hours that never come", func(g *gateway) { g.timed = new(upstreams.BatchHours) }, "hours of batches", doctor.Doubted, "batches wait"},
		{"drained", func(g *gateway) {
			g.status[0].State, g.status[0].DrainedAt, g.status[0].DrainedBy = upstreams.StateDraining, time.Unix(1_800_000_000, 0), "the dashboard"
		}, one + ": state", doctor.Passed, "draining since 2027-01-15 08:00:00 UTC, by the dashboard"},
		{"other context length", func(g *gateway) { g.status[0].MaxModelLen = 8192 }, "m: context length", doctor.Doubted, "4096, 8192"},
		{"other version", func(g *gateway) { g.status[0].Version = "0.12.0" }, "m: version", doctor.Doubted, "0.11.0, 0.12.0"},
		{"one server has it", func(g *gateway) { g.status[0].Models = []string{"m", "n"} }, "n: servers", doctor.Doubted, "one server"},
		{"no servers", func(g *gateway) { g.status = nil }, "upstreams configuration", doctor.Failed, "no server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := well()
				c.change(g)
				r, err := g.doctor().Checks(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				found := find(r, c.check)
				if len(found) != 1 {
					t.Fatalf("%d checks say %q: %+v", len(found), c.check, r.Checks)
				}
				got := found[0]
				if got.Verdict != c.verdict || !strings.Contains(got.Found, c.found) {
					t.Errorf("%+v, want %s and %q", got, c.verdict, c.found)
				}
				if (got.Verdict == doctor.Doubted || got.Verdict == doctor.Failed) && got.Remedy == "" {
					t.Errorf("no remedy for %+v", got)
				}
				present := g.doctor().Present(t.Context(), g.health)
				for _, check := range r.Checks {
					if check.Verdict == doctor.Failed && !slices.Contains(present, check) {
						t.Errorf("failed and not present: %+v among %+v", check, present)
					}
				}
				for _, check := range present {
					if check.Verdict == doctor.Passed || check.Verdict == doctor.Unknown {
						t.Errorf("nothing is wrong: %+v", check)
					}
				}
				for _, other := range r.Checks {
					if other != got && other.Verdict != doctor.Passed {
						t.Errorf("unexpected check: %+v", other)
					}
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		g := well()
		g.bounded, g.peers = false, 2
		r, err := g.doctor().Checks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, check := range r.Checks {
			if check.Verdict != doctor.Passed {
				t.Errorf("%+v", check)
			}
		}
		if c := find(r, "other gateways"); len(c) != 1 || !strings.Contains(c[0].Found, "2") {
			t.Errorf("%+v", c)
		}
	})
}

func (g *gateway) change(url string, f func(*upstreams.Facts)) {
	facts := g.facts[url]
	f(&facts)
	g.facts[url] = facts
}

// TestReportsAreShared checks that concurrent requests share a report, that a hanging server
// does not delay it, and that a token is requested once an hour, or after a server restart.
func TestReportsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := well()
		g.facts = nil
		d := g.doctor()
		g.hang = true
		began := time.Now()
		var readers sync.WaitGroup
		for range 10 {
			readers.Go(func() {
				if _, err := d.Checks(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		readers.Wait()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		if g.tries != 2 {
			t.Errorf("got %d requests to two servers", g.tries)
		}
		g.hang, g.priority = false, true
		ask := func(after time.Duration, tries int) {
			t.Helper()
			time.Sleep(after)
			g.tries = 0
			r, err := d.Checks(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c := find(r, one+": priority"); len(c) != 1 || !strings.Contains(c[0].Found, "accepted") {
				t.Errorf("%+v", c)
			}
			if g.tries != tries {
				t.Errorf("got %d requests for a token, want %d", g.tries, tries)
			}
		}
		ask(10*time.Second, 2) // a failed check is repeated
		ask(10*time.Second, 0)
		g.status[0].Since = time.Now() // it was restarted
		ask(10*time.Second, 1)
		ask(time.Hour, 2)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(10 * time.Second)
		if _, err := d.Checks(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a reader who left: %v", err)
		}
		ask(0, 0)
	})
}

// TestKeysAreTold checks that without keys the report shows if other machines are served.
func TestKeysAreTold(t *testing.T) {
	for name, tt := range map[string]struct {
		keys, local bool
		found       string
		verdict     doctor.Verdict
	}{
		"keys":              {true, false, "clients must show one", doctor.Passed},
		"this machine only": {false, true, "none configured; clients on other machines are refused", doctor.Doubted},
		"open":              {false, false, "none configured", doctor.Doubted},
	} {
		g := well()
		d := doctor.New(doctor.Config{
			Engine: g, Pool: g, Health: func(context.Context) engine.Health { return g.health },
			Keys: func() bool { return tt.keys }, Local: func() bool { return tt.local },
		})
		r, err := d.Checks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(r.Checks, func(c doctor.Check) bool { return c.Name == "API keys" })
		if i < 0 || r.Checks[i].Found != tt.found || r.Checks[i].Verdict != tt.verdict {
			t.Errorf("%s: got %+v, want %q, %v", name, r.Checks, tt.found, tt.verdict)
		}
	}
}

// The report has the limits of this process.
func TestDescriptors(t *testing.T) {
	g := well()
	d := doctor.New(doctor.Config{Engine: g, Pool: g, Health: func(context.Context) engine.Health { return g.health }, Keys: func() bool { return true }})
	r, err := d.Checks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := find(r, "file descriptors"); len(c) != 1 || c[0].Verdict == doctor.Unknown || !strings.Contains(c[0].Found, " of ") {
		t.Errorf("%+v", c)
	}
}

// price has a price measured, at a part of the slots.
func (g *gateway) price(slots float64) {
	g.prices = []upstreams.Price{{Model: "m", Windows: 30, Slots: slots, TTFT: upstreams.PriceOf{
		P50: &upstreams.Difference{With: .206, Without: .2, Difference: .006, Low: .002, High: .01},
		P99: &upstreams.Difference{With: .52, Without: .5, Difference: .02, Low: -.01, High: .05},
	}}}
}

// The connections of all gateways together are compared with the database's limit.
func TestConnections(t *testing.T) {
	for _, tt := range []struct {
		peers    int
		limits   batch.ConnectionLimits
		err      error
		verdict  doctor.Verdict
		found    string
		remedied bool
	}{
		{0, batch.ConnectionLimits{Gateway: 8, Database: 97}, nil, doctor.Passed, "1 gateway may open 8 each, 8 in all; the database admits 97", false},
		{9, batch.ConnectionLimits{Gateway: 8, Database: 97}, nil, doctor.Passed, "10 gateways may open 8 each, 80 in all", false},
		{10, batch.ConnectionLimits{Gateway: 8, Database: 97}, nil, doctor.Doubted, "88 in all; the database admits 97", true},
		{11, batch.ConnectionLimits{Gateway: 16, Database: 97}, nil, doctor.Failed, "12 gateways may open 16 each, 192 in all; the database admits 97", true},
		{0, batch.ConnectionLimits{}, errors.New("gone"), doctor.Unknown, "gone", false},
	} {
		g := well()
		g.peers, g.limits, g.limiting = tt.peers, tt.limits, tt.err
		r, err := g.doctor().Checks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		checks := find(r, "store connections")
		if len(checks) != 1 || checks[0].Verdict != tt.verdict || !strings.Contains(checks[0].Found, tt.found) || (checks[0].Remedy != "") != tt.remedied {
			t.Errorf("%d peers, %+v: got %+v, want %s, %q", tt.peers, tt.limits, checks, tt.verdict, tt.found)
		}
		warned := false
		for _, c := range g.doctor().Present(t.Context(), g.health) {
			warned = warned || c.Name == "connections"
		}
		if want := tt.remedied; warned != want {
			t.Errorf("%d peers, %+v: got a warning %t, want %t", tt.peers, tt.limits, warned, want)
		}
	}
	r, err := well().doctor().Checks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := find(r, "store connections"); len(got) != 0 {
		t.Errorf("a store without connections: got %+v, want no check", got)
	}
}
