package upstreams

import (
	"context"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// upstream is one model server, from its configuration until the last request on it
// has ended.
type upstream struct {
	url    string
	host   string
	socket string     // the path of a Unix domain socket, "" for TCP
	urls   []*url.URL // by route.index, shared by all requests and never changed

	// load is the number of requests in flight: live ones in the lower half, batch
	// lines in the upper half, so that both are read atomically.
	load atomic.Uint64
	// others is the load of other gateways, as of the last SetPeers.
	others atomic.Uint64
	// limit is the number of requests of both classes that the server should run
	// concurrently, as found by limiter. Batch lines are sent only below it.
	limit atomic.Int64
	// capacity is the measured concurrency of the server, 0 if not known.
	// Pool.released must be called after a change.
	capacity atomic.Int64
	// progress counts answers and chunks of streams: a server with progress does not
	// hang, even if its probes fail.
	progress atomic.Uint64
	// suspect is set from a failure until a successful probe, and while the breaker is
	// open.
	suspect atomic.Bool
	// trialAt is the age at which the next trial of an upstream with an open breaker
	// is due; 0 if the breaker is closed.
	trialAt     atomic.Int64
	hung        atomic.Bool  // it is suspect because its engine hangs
	goodAnswers atomic.Int64 // successful answers
	faultsInRow atomic.Int32 // faults since the last good answer
	saturation  saturation
	placed      atomic.Pointer[Placement] // nil: ForBoth
	quiet       atomic.Bool               // no model has had a live request for placementQuiet
	awakened    chan<- struct{}           // see Pool.awakened
	// pace spaces batch lines out, liveReserve keeps slots for live requests.
	pace        pace
	liveReserve liveReserve
	// hits tracks the prefix cache hits by model.
	hits atomic.Pointer[map[string]*prefixHits]
	// prefixes predicts which blocks of prompts are in the prefix cache.
	prefixes prefixes
	// withheld is true while no new batch line may be sent, to measure the price of
	// batch.
	withheld atomic.Bool
	// batchActivity and phase classify samples of live streams; withheldLoad is the
	// number of batch lines that the balancer counts while batch is withheld.
	batchActivity batchActivity
	phase         atomic.Pointer[phase] // nil: streams are not sampled
	withheldLoad  atomic.Int64
	// budget is the part of the slots that batch_budget allows batch lines.
	budget factor
	// byPriority is true if batch lines are sent with a priority.
	byPriority atomic.Bool
	// usage records whether the server reports the usage of streams on request.
	usage usageRequests
	// rediscover requests a model discovery with the next probe.
	rediscover atomic.Bool

	requests [2]atomic.Int64 // by Class, dispatched so far
	failures [2]atomic.Int64 // by Class, of those

	// wanted is true if a batch line found the limit used up since the last sample, sampled if
	// samples are taken more often than every HealthInterval.
	wanted, sampled atomic.Bool

	withdrawn atomic.Int64 // batch lines that waited in the server and were cancelled
	flights   flights
	wake      chan struct{} // cap 1: probe soon

	telemetry    telemetry
	limiter      limiter      // used by the prober alone
	hangDetector hangDetector // used by the prober alone

	access atomic.Pointer[upstreamAccess]

	condition // guarded by Pool.mu
}

// condition is the current condition of an upstream.
type condition struct {
	state      State
	since      time.Time // of the state
	added      time.Time
	reason     string // why it is not up; "" when it is
	remedy     string // for the last failed probe, "" if not known
	probed     bool   // a probe has ended
	discovered bool   // it has reported its models at least once
	loading    bool   // it listens, and reports that it is not ready
	failed     int    // consecutive probes that timed out or failed
	draining   bool
	drainedAt  time.Time // zero when it is not draining
	drainedBy  string    // "" if not known
	models     []openai.Model
	version    string
	gauges     gauges
	facts      Facts
	weight     float64
	maxSeqs    int
	// seqsAssumed is true if maxSeqs is not configured.
	seqsAssumed  bool
	reportedSeqs int // concurrency that it last reported; 0 if it does not
	limitWhy     LimitReason
	policy       string      // as configured
	scaleToZero  atomic.Bool // as configured
	// policyInForce is the policy that byPriority was set for.
	policyInForce string
	breaker       *breaker // nil if closed
	missing       map[string]missingModel
	stop          context.CancelFunc // stops probing; nil if it is not running
}

func newUpstream(at address, now time.Time, pool *poolSpeed) *upstream {
	u := &upstream{url: at.name, host: at.base.Host, socket: at.socket, wake: make(chan struct{}, 1)}
	u.urls = make([]*url.URL, len(routeList))
	for _, rt := range routeList {
		u.urls[rt.index] = u.at(at.base, rt.target)
	}
	u.state, u.since, u.added = StateLoading, now, now
	u.telemetry.begun = now
	u.limit.Store(limitStart)
	u.pace.pool = pool
	u.prefixes.Resize(prefixDefault)
	u.liveReserve.at = now
	u.batchActivity.idle = make(chan struct{}, 1)
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
	u.liveReserve.noteLive(live)
	u.noteLive()
}

// end reverts begin.
func (u *upstream) end() { u.load.Add(^uint64(0)) }

// hasSlot reports whether one more batch line may be in flight at the given load.
func (c *Candidate) hasSlot(load uint64) bool {
	_, batch := split(load)
	return batch < c.batchSlots(load)
}

// hasSlotNow is hasSlot for a line that is to be sent now. If requests use up the limit, it
// records that the line waits.
func (c *Candidate) hasSlotNow() bool {
	load := c.load.Load()
	if c.hasSlot(load) {
		return true
	}
	live, batch := split(load)
	otherLive, otherBatch := split(c.others.Load())
	if live+batch+otherLive+otherBatch >= c.concurrency() {
		c.noteLine(&c.wanted)
	}
	return false
}

// noteLine records in a flag that a batch line waits. Samples are then taken, as while lines
// run: they may show that the server has room for it.
func (u *upstream) noteLine(waits *atomic.Bool) {
	if waits.Load() {
		return
	}
	waits.Store(true)
	if !u.sampled.Load() {
		u.probeSoon()
	}
}

// linesWait reports whether batch lines waited since the last sample.
func (u *upstream) linesWait() bool { return u.wanted.Load() || u.pace.heldBack.Load() }

// acceptsBatch reports whether a batch line may be sent now: there is a slot, and no
// request that the line would delay.
func (c *Candidate) acceptsBatch() bool {
	if !c.hasSlotNow() {
		return false
	}
	now := c.age()
	open := c.opensAt(now) <= now
	if !open {
		c.noteLine(&c.pace.heldBack)
	}
	return open
}

// beginBatch counts a batch line as in flight, if it may be sent now.
func (c *Candidate) beginBatch() bool {
	now := c.age()
	if c.opensAt(now) > now || !c.hasSlot(c.load.Load()) || !c.admitLine(now) {
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
				c.updateBatchActivity()
			}
			return true
		}
	}
}

// opensAt returns when the next batch line may be sent.
func (u *upstream) opensAt(now int64) int64 {
	if u.quiet.Load() {
		return u.pace.opensQuietAt(now)
	}
	return u.pace.opensAt()
}

// admitLine reserves the time for the prompt of a batch line. It returns false if
// another line was faster.
func (u *upstream) admitLine(now int64) bool {
	if !u.quiet.Load() {
		return u.pace.admit(now)
	}
	return !u.pace.pacesQuiet() || u.pace.admitQuiet(now)
}

// endBatch reverts beginBatch.
func (u *upstream) endBatch() {
	if u.load.Add(^uint64(oneBatch-1)) < oneBatch {
		u.updateBatchActivity()
	}
}

func split(load uint64) (live, batch int) { return int(uint32(load)), int(load >> 32) }

func (u *upstream) counts() (live, batch int) { return split(u.load.Load()) }

// probeSoon triggers a probe without waiting for the interval.
func (u *upstream) probeSoon() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// isUp reports whether it accepts requests, ignoring draining. Pool.mu is held.
func (u *upstream) isUp() bool { return u.state.TakesRequests() }

// has reports whether it has reported the model. Pool.mu is held.
func (u *upstream) has(model string) bool {
	for i := range u.models {
		if u.models[i].ID == model {
			return true
		}
	}
	return false
}

// flights lists the requests whose client has not got a byte yet: they can be retried
// elsewhere.
type flights struct {
	mu    sync.Mutex
	first *flight // guarded by mu
}

// flight is an element of flights.
type flight struct {
	model      string
	whole      bool // the entire body was in memory when the attempt began
	cancel     context.CancelCauseFunc
	line, flex bool    // a batch line; a live request with the class of batches
	prev, next *flight // guarded by flights.mu
	listed     bool    // used by the request's goroutine
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

// remove removes f from the list. It may be called repeatedly.
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

// awaited returns the number of flights that were sent completely.
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

// abort cancels the flights whose model may reports true for, and returns their
// number.
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
