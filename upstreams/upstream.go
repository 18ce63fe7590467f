package upstreams

import (
	"context"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// upstream is one model server for as long as its URL is configured, and for as
// long after that as requests run on it.
type upstream struct {
	url    string
	host   string
	socket string     // the path of a Unix domain socket, "" for TCP
	urls   []*url.URL // by route.index, shared by all requests and never changed

	// load is the number of requests in flight: live ones in the lower half,
	// batch lines in the upper one, so that both are read at once.
	load atomic.Uint64
	// others is the same for what other gateways have in flight, as of the
	// last SetPeers.
	others atomic.Uint64
	// limit is how many requests of both classes the server should have at once:
	// what its limiter found. Batch lines come only below it.
	limit atomic.Int64
	// capacity is how many requests the server was found to run at once, 0 when
	// that is not known. Who changes it calls Pool.released.
	capacity atomic.Int64
	// progress counts answers and pieces of streams: a server that makes some
	// is not hung, whatever its probes say.
	progress atomic.Uint64
	// suspect says that it did something which a probe is to explain.
	suspect atomic.Bool
	// gate is when the next trial of an upstream that is suspect for its answers
	// is due, as its age; 0 if it is not.
	gate   atomic.Int64
	hung   atomic.Bool  // it is suspect because its engine hangs
	good   atomic.Int64 // answers to requests
	row    atomic.Int32 // faults since the last good answer
	full   saturation
	placed atomic.Pointer[Placement] // nil: ForBoth
	// pace spaces batch lines out, seats keeps places for live requests.
	pace  pace
	seats seats
	// hits tells of each model which part of its prompts is in the prefix cache.
	hits atomic.Pointer[map[string]*prefixHits]
	// withheld says that no new batch line may come: the price of batch is measured.
	withheld atomic.Bool
	// presence and spell tell what live streams are samples of, standIn is how many
	// batch lines the balancer counts while batch is withheld.
	presence presence
	spell    atomic.Pointer[spell] // nil: of nothing
	standIn  atomic.Int64
	// budget is the part of the slots that batch_budget leaves batch lines.
	budget factor
	// byPriority says that batch lines are sent with a priority.
	byPriority atomic.Bool
	// rediscover has the next probe ask for the models.
	rediscover atomic.Bool

	requests [2]atomic.Int64 // by Class, dispatched so far
	failures [2]atomic.Int64 // by Class, of those
	flights  flights
	wake     chan struct{} // cap 1: probe soon

	telemetry telemetry
	limiter   limiter   // used by the prober alone
	stillness stillness // used by the prober alone

	access atomic.Pointer[access]

	condition // guarded by Pool.mu
}

// condition is what is known of an upstream.
type condition struct {
	state     State
	since     time.Time // of the state
	added     time.Time
	reason    string // why it is not up; "" when it is
	remedy    string // what to do about the last probe's failure, "" when that is not known
	probed    bool   // a probe has ended
	told      bool   // it has told its models at least once
	loading   bool   // it listens, and says that it is not ready
	failed    int    // probes in a row that time out or are answered badly
	draining  bool
	drainedAt time.Time // zero when it is not draining
	drainedBy string    // "" when that is not known
	models    []openai.Model
	version   string
	gauges    gauges
	facts     Facts
	weight    float64
	maxSeqs   int
	// seqsAssumed says that maxSeqs is not configured.
	seqsAssumed bool
	toldSeqs    int // requests that it runs at once, as it told last; 0 when it does not
	limitWhy    LimitReason
	policy      string // as configured
	// policyInForce is what byPriority was decided by.
	policyInForce string
	suspicion     *suspicion // nil without one
	disowned      map[string]disowned
	stop          context.CancelFunc // ends its probing; nil when there is none
}

func newUpstream(at address, now time.Time) *upstream {
	u := &upstream{url: at.name, host: at.base.Host, socket: at.socket, wake: make(chan struct{}, 1)}
	u.urls = make([]*url.URL, len(routeList))
	for _, rt := range routeList {
		u.urls[rt.index] = u.at(at.base, rt.target)
	}
	u.state, u.since, u.added = StateLoading, now, now
	u.telemetry.begun = now
	u.limit.Store(limitStart)
	u.seats.at = now
	u.presence.quiet = make(chan struct{}, 1)
	return u
}

func (u *upstream) at(base *url.URL, path string) *url.URL {
	return &url.URL{Scheme: base.Scheme, Host: base.Host, Path: base.Path + path}
}

const oneBatch = 1 << 32

// begin counts a live request as in flight.
func (u *upstream) begin() {
	u.requests[Live].Add(1)
	live, _ := split(u.load.Add(1))
	u.seats.taken(live)
}

// end takes back begin.
func (u *upstream) end() { u.load.Add(^uint64(0)) }

// hasSlot reports whether one more batch line may be in flight at a load.
func (c *Candidate) hasSlot(load uint64) bool {
	_, batch := split(load)
	return batch < c.batchSlots(load)
}

// takes reports whether a batch line may come now: there is a slot, and nothing
// that the line would hold up.
func (c *Candidate) takes() bool {
	if !c.hasSlot(c.load.Load()) {
		return false
	}
	now := c.age()
	open := c.pace.open() <= now
	if !open && !c.pace.held.Load() {
		c.pace.held.Store(true)
	}
	return open
}

// beginBatch counts a batch line as in flight, if it may come now.
func (c *Candidate) beginBatch() bool {
	now := c.age()
	if c.pace.open() > now || !c.hasSlot(c.load.Load()) || !c.pace.admit(now) {
		return false
	}
	for {
		load := c.load.Load()
		if !c.hasSlot(load) {
			return false
		}
		if c.load.CompareAndSwap(load, load+oneBatch) {
			if load < oneBatch {
				c.probeSoon() // samples are taken while batch lines run
				c.noteBatch()
			}
			return true
		}
	}
}

// endBatch takes back beginBatch.
func (u *upstream) endBatch() {
	if u.load.Add(^uint64(oneBatch-1)) < oneBatch {
		u.noteBatch()
	}
}

func split(load uint64) (live, batch int) { return int(uint32(load)), int(load >> 32) }

func (u *upstream) counts() (live, batch int) { return split(u.load.Load()) }

// probeSoon has the upstream probed without waiting for the interval.
func (u *upstream) probeSoon() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// isUp tells whether it takes requests, drained or not. Pool.mu is held.
func (u *upstream) isUp() bool { return u.state.TakesRequests() }

// has tells whether it has told the model. Pool.mu is held.
func (u *upstream) has(model string) bool {
	for i := range u.models {
		if u.models[i].ID == model {
			return true
		}
	}
	return false
}

// flights are requests that have not brought their client a byte yet: what can
// be begun anew elsewhere.
type flights struct {
	mu    sync.Mutex
	first *flight // guarded by mu
}

// flight is one of them.
type flight struct {
	model      string
	whole      bool // all of the request was in memory when it was begun: nobody is waited for
	cancel     context.CancelCauseFunc
	prev, next *flight // guarded by flights.mu
	listed     bool    // the request's own
}

func (l *flights) add(f *flight) {
	f.listed = true
	l.mu.Lock()
	if f.next = l.first; f.next != nil {
		f.next.prev = f
	}
	l.first = f
	l.mu.Unlock()
}

// remove takes f off the list. Doing it again does nothing.
func (l *flights) remove(f *flight) {
	if !f.listed {
		return
	}
	f.listed = false
	l.mu.Lock()
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		l.first = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
	l.mu.Unlock()
}

// awaited counts those that only the upstream is waited for.
func (l *flights) awaited() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for f := l.first; f != nil; f = f.next {
		if f.whole {
			n++
		}
	}
	return n
}

// abort cancels those whose model may, and says how many.
func (l *flights) abort(cause error, may func(model string) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for f := l.first; f != nil; f = f.next {
		if may(f.model) {
			f.cancel(cause)
			n++
		}
	}
	return n
}
