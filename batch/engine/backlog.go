package engine

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler"
)

const (
	// backlogAge limits the age of a look at the backlog that is used again. It is also
	// the minimum time between two looks, even if the store fails.
	backlogAge = 5 * time.Second
	// backlogWait limits a look, and the wait for one.
	backlogWait = 2 * time.Second
	// backlogShown limits the age of a look that metrics show while no look succeeds.
	backlogShown = 2 * time.Minute
)

// backlog reads the remaining work of the batches of all tenants, for metrics and for
// Demand. One such look runs at a time, and none begins within backlogAge of another. A
// look reads the store a few times, each by an index.
type backlog struct {
	reads   *Reads
	expired *atomic.Int64        // batches that this gateway ended at their deadlines
	age     time.Duration        // backlogAge
	running atomic.Bool          // the store is open
	turn    chan struct{}        // held during a look
	tried   time.Time            // when the last look began; guarded by turn
	flow    flow                 // guarded by turn
	last    atomic.Pointer[view] // the last look that succeeded
}

// view holds the findings of one look. It never changes.
type view struct {
	at       time.Time                     // by this machine's clock
	now      time.Time                     // by the store's
	active   []batch.Batch                 // in progress, at most activeLimit
	waiting  []batch.Batch                 // Validating, at most activeLimit
	models   map[string][]batch.BatchModel // by batch, of those whose lines were counted by model
	inFlight map[string]map[string]int64   // on this gateway, by batch and model
	others   map[string]int64              // lines in flight on other gateways, by model
	states   map[batch.Status]int64
	atRisk   []AtRisk
	speeds   map[string]speed
	ended    map[string]time.Time // when a line last got its result, by model
	closed   bool                 // no batch runs at this time of day
	closing  batch.Closing
	space    batch.Space
	hasSpace bool
	perLine  map[string]scheduler.LineTokens // by label of the model
}

// modelsLimit limits the parts of batches that a look reads.
const modelsLimit = 10 * scheduler.ActiveLimit

func newBacklog(r *Reads, expired *atomic.Int64) *backlog {
	return &backlog{reads: r, expired: expired, age: backlogAge, turn: make(chan struct{}, 1), flow: flow{minutes: make(map[string][]batch.ModelMinute)}}
}

// stop prevents further looks, and waits for a look that is under way. It is called before
// the store is closed.
func (b *backlog) stop() {
	b.running.Store(false)
	b.turn <- struct{}{}
	<-b.turn
}

// look returns a view that is not older than backlogAge. If it cannot get one, it returns
// the last view, nil if there is none or it is older than backlogShown.
func (b *backlog) look(ctx context.Context) *view {
	if v := b.last.Load(); v != nil && time.Since(v.at) < b.age || !b.running.Load() {
		return b.recent()
	}
	ctx, cancel := context.WithTimeout(ctx, backlogWait)
	defer cancel()
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return b.recent()
	}
	if time.Since(b.tried) < b.age || !b.running.Load() {
		return b.recent()
	}
	b.tried = time.Now()
	v, err := b.read(ctx)
	if err != nil { // Health reports the error of the store
		b.reads.log.Debug("reading the backlog failed", zap.Error(err))
		return b.recent()
	}
	b.last.Store(v)
	return v
}

// fresh is look, but returns nil for a view that is older than backlogAge.
func (b *backlog) fresh(ctx context.Context) *view {
	if v := b.look(ctx); v != nil && time.Since(v.at) < backlogAge {
		return v
	}
	return nil
}

// errNoLook reports that there is no recent view of the backlog.
var errNoLook = fmt.Errorf("looking at what waits: %w", batch.ErrUnavailable)

// recent returns the last view, nil if it is older than backlogShown.
func (b *backlog) recent() *view {
	if v := b.last.Load(); v != nil && time.Since(v.at) < backlogShown {
		return v
	}
	return nil
}

// read reads the store and returns a new view. turn is held.
func (b *backlog) read(ctx context.Context) (*view, error) {
	r := b.reads
	v := &view{at: time.Now(), inFlight: r.scheduler.LinesInFlight(ctx), others: r.member.linesElsewhere(), perLine: r.scheduler.Metrics().TokensPerLine()}
	var err error
	if err := b.readBatches(ctx, v); err != nil {
		return nil, err
	}
	if v.now, err = r.store.Now(ctx); err != nil {
		return nil, fmt.Errorf("reading the clock: %w", err)
	}
	if v.states, err = r.store.BatchStates(ctx, batch.AllTenants); err != nil {
		return nil, err
	}
	pace, err := r.store.Pace(ctx, v.now.Add(-rateSpan), scheduler.ActiveLimit)
	if err != nil {
		return nil, err
	}
	minutes, err := r.store.Flow(ctx, b.flow.since(v.now), scheduler.ActiveLimit)
	if err != nil {
		return nil, err
	}
	b.flow.learn(minutes, v.now)
	v.speeds, v.ended = b.flow.speeds(), b.flow.ended()
	v.closing, v.closed = r.Closed()
	if v.closed {
		v.atRisk = closedAtRisk(v.active, v.closing)
	} else {
		v.atRisk = atRiskOf(v.active, pace, v.speeds, v.now)
	}
	if v.space, v.hasSpace, err = r.Space(); err != nil {
		v.hasSpace = false // Health reports the error
	}
	return v, nil
}

// readBatches reads which batches wait and which are in progress, with their lines by
// model: in the order in which a batch goes through them, so that one that begins
// meanwhile is not left out.
func (b *backlog) readBatches(ctx context.Context, v *view) error {
	store := b.reads.store
	models, err := store.BatchModels(ctx, modelsLimit)
	if err != nil {
		return err
	}
	v.models = make(map[string][]batch.BatchModel)
	for _, m := range models {
		v.models[m.BatchID] = append(v.models[m.BatchID], m)
	}
	if v.waiting, err = store.WaitingBatches(ctx, scheduler.ActiveLimit); err != nil {
		return err
	}
	if v.active, err = store.ActiveBatches(ctx, scheduler.ActiveLimit); err != nil {
		return err
	}
	started := make(map[string]bool, len(v.active))
	for i := range v.active {
		started[v.active[i].ID] = true
	}
	v.waiting = slices.DeleteFunc(v.waiting, func(b batch.Batch) bool { return started[b.ID] })
	return nil
}
