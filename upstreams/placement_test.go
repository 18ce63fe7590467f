package upstreams

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

// placedFleet has servers with only their load set.
type placedFleet struct {
	pool *Pool
	know placement
	now  time.Time
}

func newPlacedFleet(t *testing.T, models string, servers int) *placedFleet {
	t.Helper()
	p := newPool(zap.NewNop(), nil)
	var cfg Config
	for i := range servers {
		cfg.Upstreams = append(cfg.Upstreams, UpstreamConfig{URL: fmt.Sprintf("http://s%d", i)})
	}
	if err := p.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	for i, u := range p.upstreams {
		u.pace.teach(time.Microsecond, 0, 0)
		var served []openai.Model
		for at := range strings.FieldsSeq(models) { // "model:servers", "m" for all
			name, where, some := strings.Cut(at, ":")
			if !some || strings.Contains(where, fmt.Sprint(i)) {
				served = append(served, openai.Model{ID: name})
			}
		}
		p.probeOK(u, &discovery{models: served})
	}
	return &placedFleet{pool: p, now: time.Unix(1e9, 0)}
}

// load sets what is in flight and how long the live requests of a second have each
// server prefill.
func (f *placedFleet) load(live, batch int, work time.Duration, servers ...int) {
	for _, i := range servers {
		f.pool.upstreams[i].load.Store(uint64(batch)*oneBatch + uint64(live))
		f.pool.upstreams[i].pace.sentTokens[Live].Add(work.Microseconds())
	}
}

// second lets a second pass and returns what the servers are for.
func (f *placedFleet) second() string {
	f.now = f.now.Add(placementInterval)
	f.know.assign(f.pool.now.Load(), f.now)
	var all []string
	for _, u := range f.pool.upstreams {
		all = append(all, string(u.placement()))
	}
	return strings.Join(all, " ")
}

// Live requests are kept on as few servers as they need while batch lines run.
func TestPlacement(t *testing.T) {
	all := []int{0, 1, 2, 3}
	for _, tt := range []struct {
		name        string
		servers     int
		live, batch int           // in flight on each
		work        time.Duration // of prefill on each in a second
		want        string
	}{
		{"no batch", 4, 1, 0, 0, "both both both both"},
		{"nothing", 4, 0, 0, 0, "both both both both"},
		{"no live requests yet", 4, 0, 10, 0, "batch batch batch batch"},
		{"few live requests", 4, 1, 10, 15 * time.Millisecond, "live batch batch batch"},
		{"their prompts take more than one server should", 4, 3, 10, 45 * time.Millisecond, "live live batch batch"},
		{"they are more than one server should run", 4, 6, 10, 10 * time.Millisecond, "live live batch batch"},
		{"they need all servers", 4, 20, 10, 100 * time.Millisecond, "both both both both"},
		{"one server", 1, 1, 10, 15 * time.Millisecond, "both"},
		{"two servers", 2, 1, 10, 15 * time.Millisecond, "live batch"},
	} {
		f := newPlacedFleet(t, "m", tt.servers)
		got := ""
		for range 60 {
			f.load(tt.live, tt.batch, tt.work, all[:tt.servers]...)
			got = f.second()
		}
		if got != tt.want {
			t.Errorf("%s: the servers are for %s, want %s", tt.name, got, tt.want)
		}
	}
}

// A server is for live requests if one of its models needs it, is passed over while it
// is suspect, and all are alike when the batch has ended.
func TestPlacementChanges(t *testing.T) {
	f := newPlacedFleet(t, "a:0123 b:23", 4)
	f.load(1, 10, 0, 0, 1, 2, 3)
	if got := f.second(); got != "live batch live batch" {
		t.Errorf("two models: the servers are for %s", got)
	}
	f.pool.upstreams[0].suspect.Store(true)
	if got := f.second(); got != "both live live batch" {
		t.Errorf("the first server is suspect: the servers are for %s", got)
	}
	f.pool.upstreams[0].suspect.Store(false)
	f.load(1, 0, 0, 0, 1, 2, 3)
	for range int(placementMemory / placementInterval) {
		if got := f.second(); got != "live batch live batch" {
			t.Fatalf("for a moment no line runs: the servers are for %s", got)
		}
	}
	if got := f.second(); got != "both both both both" {
		t.Errorf("the batch has ended: the servers are for %s", got)
	}
}

// The number of servers follows the need, and not each change of it.
func TestPlacementIsSteady(t *testing.T) {
	f := newPlacedFleet(t, "m", 4)
	changes, was := 0, ""
	for i := range 600 {
		work := 70 * time.Millisecond // of 150 that one server should read
		if i%2 == 0 {
			work = 0
		}
		f.load(2, 10, work, 0, 1, 2, 3)
		if got := f.second(); i > 60 && got != was {
			changes++
			was = got
		} else {
			was = got
		}
	}
	if changes > 1 || was != "live batch batch batch" && was != "live live batch batch" {
		t.Errorf("that changed %d times; the servers are for %s", changes, was)
	}
}

// A gateway whose live requests come through others uses as many servers as they do.
func TestPlacementWithOtherGateways(t *testing.T) {
	f := newPlacedFleet(t, "m", 4)
	f.load(0, 10, 0, 0, 1, 2, 3)
	loads := make(map[string]Load)
	for _, u := range f.pool.upstreams {
		loads[u.url] = Load{Live: 6}
	}
	f.pool.SetPeers(Peers{All: 1, Serving: 1, Working: 1}, loads)
	got := ""
	for range 60 {
		got = f.second()
	}
	if got != "live live batch batch" {
		t.Errorf("beside 24 live requests of another gateway the servers are for %s", got)
	}
}

// Live requests go to the servers that are for them, and elsewhere if they would wait
// there for longer than a step of the others.
func TestLiveRequestsStayTogether(t *testing.T) {
	f := newPlacedFleet(t, "m", 3)
	f.load(1, 10, 0, 0, 1, 2)
	f.second()
	for _, u := range f.pool.upstreams {
		u.pace.teach(10*time.Microsecond, 10*time.Millisecond, 0)
	}
	for _, u := range f.pool.upstreams[1:] {
		u.pace.interval.Store(int64(30 * time.Millisecond))
	}
	at := f.pool.now.Load().models["m"]
	choose := func(among []*Candidate) string {
		return LeastWork{}.Choose(among, &Query{Class: Live, Model: "m"}).URL
	}
	first := f.pool.upstreams[0]
	first.load.Store(100*oneBatch + 10)
	for range 20 {
		if got := choose(at.up); got != "http://s0" {
			t.Fatalf("a live request goes to %s", got)
		}
	}
	first.pace.live.Store(2700)
	if got := choose(at.up); got != "http://s0" {
		t.Errorf("behind a prefill of 27 ms a live request goes to %s, where it waits 30 ms longer", got)
	}
	first.pace.live.Store(3300)
	if got := choose(at.up); got == "http://s0" {
		t.Error("a live request waits for a prefill of 33 ms")
	}
	if got := choose(at.up[1:]); got == "http://s0" {
		t.Error("a server that was not offered was chosen")
	}
}

// When a server is for something else its limit is searched for again: few lines where
// live requests come, many where none do.
func TestLimitFollowsPlacement(t *testing.T) {
	e := newEngine(256, 7500*time.Microsecond, 70*time.Microsecond)
	limits := make(map[Placement]int)
	for _, placed := range []Placement{ForBoth, ForBatch, ForLive, ForBatch, ForLive} {
		e.placed = placed
		got := e.after(30 * time.Second)
		if was := limits[placed]; was > 0 && (got < was*3/4 || got > was*4/3) {
			t.Errorf("for %s the limit is %d, and was %d", placed.Text(), got, was)
		}
		limits[placed] = got
	}
	if b := limits[ForBatch]; b != 256 {
		t.Errorf("for batch lines the limit is %d, want 256", b)
	}
	if l := limits[ForLive]; l < 32 || l > 90 {
		t.Errorf("for live requests the limit is %d, want 32 to 90: each takes 1.6 times as long at most", l)
	}
	// Of fewer requests nothing is known: the search begins below.
	fresh := newEngine(256, 7500*time.Microsecond, 70*time.Microsecond)
	fresh.placed, fresh.limiter.limit = ForBatch, 256
	fresh.step()
	fresh.placed = ForLive
	if got := fresh.step(); got > limitStart {
		t.Errorf("a server that was filled begins with %d requests, want %d", got, limitStart)
	}
	if !slices.Contains([]LimitReason{LimitGrowing, LimitStart}, fresh.limiter.why) {
		t.Errorf("the limit is not searched for: %s", fresh.limiter.why)
	}
}

// What a server was found to run at once is not forgotten for another placement.
func TestPlacementKeepsCapacity(t *testing.T) {
	e := newEngine(64, 7500*time.Microsecond, 70*time.Microsecond)
	e.after(30 * time.Second)
	for _, e.placed = range []Placement{ForBatch, ForLive, ForBatch} {
		for range 20 {
			if got := e.step(); got > 64 {
				t.Errorf("a server that runs 64 requests at once gets %d %s", got, e.placed.Text())
			}
		}
	}
}

// batch_budget takes slots where live requests are, and not where they are not.
func TestBudgetWhereLiveIs(t *testing.T) {
	f := newPlacedFleet(t, "m", 2)
	f.load(1, 1, 0, 0, 1)
	f.second()
	at := f.pool.now.Load().models["m"]
	for _, c := range at.up {
		c.limit.Store(100)
		c.budget.set(0.5)
	}
	if live, batch := at.up[0].batchSlots(0), at.up[1].batchSlots(0); live != 50 || batch != 100 {
		t.Errorf("with half of the slots left by the budget the server for live requests has %d and the other one %d, want 50 and 100", live, batch)
	}
}

// Without live requests for a while, all servers are filled with batch lines. The first
// live request gets a server of its own again.
func TestPlacementWithoutLiveRequests(t *testing.T) {
	f := newPlacedFleet(t, "m", 4)
	all := []int{0, 1, 2, 3}
	f.load(0, 10, 0, all...)
	if got, want := f.second(), "batch batch batch batch"; got != want {
		t.Errorf("got %s before the first live request, want %s", got, want)
	}
	f.load(0, 10, 15*time.Millisecond, 1)
	if got, want := f.second(), "live batch batch batch"; got != want {
		t.Errorf("got %s after the first live request, want %s", got, want)
	}
	for range int(placementQuiet/placementInterval) - 1 {
		if got, want := f.second(), "live batch batch batch"; got != want {
			t.Fatalf("got %s before the quiet time is over, want %s", got, want)
		}
	}
	if got, want := f.second(), "batch batch batch batch"; got != want {
		t.Errorf("got %s after a quiet time, want %s", got, want)
	}
	f.load(0, 10, 15*time.Millisecond, 2) // a request that has ended meanwhile
	if got, want := f.second(), "live batch batch batch"; got != want {
		t.Errorf("got %s after a live request, want %s", got, want)
	}
	one := newPlacedFleet(t, "m", 1)
	one.load(0, 10, 0, 0)
	for range 2 * int(placementQuiet/placementInterval) {
		if got := one.second(); got != "both" {
			t.Fatalf("got %s for the only server, want both", got)
		}
	}
}
