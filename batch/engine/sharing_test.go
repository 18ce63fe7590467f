package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

// Engines that share a store share the work, and nothing is done twice.
func TestEnginesShareABatch(t *testing.T) {
	const lines = 2000
	s := newStreet(t, batch.Config{MaxInFlight: 64}, 3)
	gate := make(chan struct{})
	for _, h := range s.houses {
		h.pool.answer = behind(gate)
	}
	id := s.houses[0].create(s.houses[0].upload(input(lines)))
	for _, h := range s.houses {
		until(t, "every engine has lines", func() bool { return h.inFlight() > 0 })
	}
	close(gate)
	b := s.houses[0].wait(id)
	s.houses[0].check(b, lines)
	s.wantOnce(t, lines)
}

// An engine that stops hands back at once what it has not begun, while lines
// that run still finish.
func TestDrainHandsBackAtOnce(t *testing.T) {
	const lines = 1000
	s := newStreet(t, batch.Config{MaxInFlight: 10}, 2)
	leaving, staying := s.houses[0], s.houses[1]
	staying.pool.set(func() { staying.pool.slots = 0 })
	leaving.pool.received = make(chan string, lines)
	answer, open := letSome(0)
	leaving.pool.answer = answer
	id := leaving.create(leaving.upload(input(lines)))
	for range 10 {
		<-leaving.pool.received
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		leaving.close(patience)
	}()
	staying.pool.set(func() { staying.pool.slots = 10 })
	// All but the ten lines, which still run.
	staying.waitCounted(id, lines-10)
	open()
	<-stopped
	b := staying.wait(id)
	staying.check(b, lines)
	s.wantOnce(t, lines)
}

// What a gateway that died has left lying is taken over when its lease has
// ended, however much new work there is.
func TestTakeOverBesideABacklog(t *testing.T) {
	const lines, left = 6000, 2 // slice of the one that dies
	s := newStreet(t, batch.Config{MaxInFlight: 10}, 1)
	h := s.houses[0]
	h.pool.set(func() { h.pool.slots = 0 })
	var calls, before atomic.Int64
	h.pool.answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		n := calls.Add(1)
		if id == customID(left*batch.SliceLines) {
			before.Store(n)
		}
		time.Sleep(15 * time.Millisecond) // so that the backlog lasts
		return ok(id), nil
	}
	id := h.create(h.upload(input(lines)))
	until(t, "the batch is planned", func() bool { return h.get(id).Status == batch.InProgress })
	claimed, err := s.store.Store.ClaimSlices(t.Context(), batch.Claimant{Owner: "dying", Lease: 3 * time.Second}, []batch.SliceRef{{BatchID: id, Number: left}})
	if err != nil || len(claimed) != 1 {
		t.Fatalf("claimed %d slices: %v", len(claimed), err)
	}
	h.pool.set(func() { h.pool.slots = 10 })
	b := h.wait(id)
	h.check(b, lines)
	s.wantOnce(t, lines)
	if n := before.Load(); n > lines-500 {
		t.Errorf("its line was the %d. of %d that ran", n, lines)
	}
}

// Once a lease may have ended nothing more is begun, for another may have: not
// before it is renewed.
func TestNothingBeginsWithoutALease(t *testing.T) {
	const (
		lines = 200
		some  = 10
		lease = 600 * time.Millisecond
	)
	s := newStreet(t, batch.Config{MaxInFlight: lines, Lease: lease}, 1)
	h := s.houses[0]
	gate := make(chan struct{})
	h.pool.set(func() { h.pool.slots, h.pool.answer = some, behind(gate) })
	id := h.create(h.upload(input(lines)))
	until(t, "some lines run", func() bool { return len(s.callsOf()) == some })
	s.store.slow.Store(true) // leases are not renewed any more
	until(t, "the leases have run out", func() bool {
		numbers, err := s.store.Store.ClaimableSlices(t.Context(), id, 10)
		return err == nil && len(numbers) > 0
	})
	seen := s.store.refreshes.Load()
	close(gate)
	until(t, "the slots are free", func() bool {
		h.pool.mu.Lock()
		defer h.pool.mu.Unlock()
		return h.pool.running == 0
	})
	until(t, "it has looked for work", func() bool { return s.store.refreshes.Load() >= seen+2 })
	if begun := len(s.callsOf()); begun != some {
		t.Errorf("%d lines were begun, %d of them without a lease", begun, begun-some)
	}
	s.store.slow.Store(false)
	h.check(h.wait(id), lines)
	s.wantOnce(t, lines)
}

// What a gateway has queued in its memory of batches that another finalizes is
// forgotten when they are over.
func TestQueuesForgetWhatIsOver(t *testing.T) {
	s := newStreet(t, batch.Config{MaxInFlight: 10}, 2)
	for _, h := range s.houses {
		h.pool.set(func() { h.pool.slots = 0 })
	}
	in := s.houses[0].upload(input(2000))
	var ids []string
	for range 16 {
		ids = append(ids, s.houses[0].create(in))
	}
	for i, id := range ids {
		h := s.houses[i%2]
		until(t, "it is planned", func() bool { return h.get(id).Status == batch.InProgress })
		if _, err := h.engine.CancelBatch(t.Context(), tenant, id); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		s.houses[0].wait(id)
	}
	seen := s.store.refreshes.Load()
	until(t, "both have looked often enough", func() bool { return s.store.refreshes.Load() >= seen+10 })
	for i, h := range s.houses {
		for _, id := range ids {
			if left, err := h.queue().Pop(t.Context(), id, 1000); err != nil || len(left) > 0 {
				t.Errorf("gateway %d has %d slices of a batch that is over, %v", i, len(left), err)
			}
		}
	}
}

// A gateway that sees other files than those that are there is refused.
func TestOtherFilesAreRefused(t *testing.T) {
	s := newStreet(t, batch.Config{}, 1)
	other := engine.NewEngine(batch.Config{}, s.store, memory.New(), sharedFiles{nil, "/elsewhere"}, newFakePool(), zap.NewNop())
	err := other.Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/elsewhere") {
		t.Errorf("opened: %v", err)
	}
	if n := len(s.store.known); n != 1 {
		t.Errorf("%d gateways are known", n)
	}
	unshared := engine.NewEngine(batch.Config{}, s.store, memory.New(), local.New(local.Config{Dir: t.TempDir()}), newFakePool(), zap.NewNop())
	if err := unshared.Open(t.Context()); err == nil {
		t.Error("files without a place were taken")
		if err := unshared.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// sharingPool records what it is told of other gateways.
type sharingPool struct {
	*fakePool
	loads map[string]batch.Load
	told  atomic.Pointer[map[string]batch.Load]
	peers atomic.Int32

	counted atomic.Pointer[batch.Peers]
}

func (p *sharingPool) Capabilities() batch.DispatcherCapabilities {
	c := p.fakePool.Capabilities()
	c.Loads = p
	return c
}

func (p *sharingPool) Loads() map[string]batch.Load { return p.loads }

func (p *sharingPool) SetPeers(n batch.Peers, loads map[string]batch.Load) {
	p.peers.Store(int32(n.All))
	p.counted.Store(&n)
	p.told.Store(&loads)
}

// Every pool is told what the others have in flight, and forgets it when they
// are gone or silent.
func TestLoadsAreShared(t *testing.T) {
	s := newStreet(t, batch.Config{}, 0)
	pools := make([]*sharingPool, 3)
	engines := make([]*engine.Engine, 3)
	for i := range pools {
		pools[i] = &sharingPool{fakePool: newFakePool(), loads: map[string]batch.Load{"http://a": {Live: i, Batch: 10}}}
		engines[i] = engine.NewEngine(batch.Config{}, s.store, memory.New(), sharedFiles{place: "here", Files: nopFiles{}}, pools[i], zap.NewNop())
		if err := engines[i].Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := int(pools[i].peers.Load()); n != i { // before it begins a line
			t.Errorf("gateway %d is told of %d others when it opens", i, n)
		}
		engines[i].Start()
	}
	told := func(p *sharingPool, peers int, want map[string]batch.Load) func() bool {
		return func() bool {
			loads := p.told.Load()
			return loads != nil && int(p.peers.Load()) == peers && maps.Equal(*loads, want)
		}
	}
	until(t, "the first is told of the others", told(pools[0], 2, map[string]batch.Load{"http://a": {Live: 3, Batch: 20}}))
	if err := engines[2].Stop(t.Context()); err != nil {
		t.Error(err)
	}
	until(t, "the first is told that one left", told(pools[0], 1, map[string]batch.Load{"http://a": {Live: 1, Batch: 10}}))
	s.store.away.Store(true)
	until(t, "the first forgets what is old, and leaves the other its share", told(pools[0], 1, map[string]batch.Load{}))
	s.store.away.Store(false)
	for _, e := range engines[:2] {
		if err := e.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := len(s.store.known); n != 0 {
		t.Errorf("%d gateways are still known", n)
	}
}

// nopFiles have room, and nothing in them.
type nopFiles struct{ batch.Files }

func (nopFiles) Ping(context.Context) error                                { return nil }
func (nopFiles) List(context.Context, func(string, time.Time) error) error { return nil }

// What the store says wakes whoever looks for work.
func TestStoreWakes(t *testing.T) {
	s := newStreet(t, batch.Config{}, 1)
	for range 3 {
		s.store.bell <- struct{}{} // taken, not kept
	}
}

// brokenQueue fails until it is mended, and counts how often it is asked.
type brokenQueue struct {
	batch.Queue
	pops   atomic.Int64
	mended atomic.Bool
}

func (q *brokenQueue) Ping(context.Context) error {
	if q.mended.Load() {
		return nil
	}
	return errQueue
}

var errQueue = errors.New("queue is away")

func (q *brokenQueue) Push(context.Context, string, []int) error { return errQueue }
func (q *brokenQueue) Pop(context.Context, string, int) ([]int, error) {
	q.pops.Add(1)
	return nil, errQueue
}
func (q *brokenQueue) Done(context.Context, string, []int) error { return errQueue }
func (q *brokenQueue) Drop(context.Context, string) error        { return errQueue }
func (q *brokenQueue) Notify(context.Context) error              { return errQueue }

// A queue that is away holds nothing up and is left alone for a while.
func TestQueueAway(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 10})
	q := &brokenQueue{Queue: memory.New()}
	h.queue = func() batch.Queue { return q }
	h.open()
	b := h.wait(h.create(h.upload(input(2000))))
	h.check(b, 2000)
	if n := q.pops.Load(); n > 3 {
		t.Errorf("it was asked %d times", n)
	}
	if health := h.engine.Health(t.Context()); health.OK() || !strings.Contains(strings.Join(health.Paused, " "), "queue is away") {
		t.Errorf("health %+v", health)
	}
	if r := h.pool.repeated(); r != 0 {
		t.Errorf("%d calls repeated", r)
	}
	// That it is well again is found out without any work.
	q.mended.Store(true)
	until(t, "all is well", func() bool { return h.engine.Health(t.Context()).OK() })
}

// latecomer is a queue whose server is away at first.
type latecomer struct {
	batch.Queue
	there atomic.Bool
	pops  atomic.Int64
}

func (q *latecomer) Open(ctx context.Context) error {
	if !q.there.Load() {
		return fmt.Errorf("connecting: %w", batch.ErrUnavailable)
	}
	return q.Queue.Open(ctx)
}

func (q *latecomer) Pop(ctx context.Context, id string, n int) ([]int, error) {
	q.pops.Add(1)
	return q.Queue.Pop(ctx, id, n)
}

// A queue that is away at the start is used when it comes.
func TestQueueComesLater(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 10})
	q := &latecomer{Queue: memory.New()}
	h.queue = func() batch.Queue { return q }
	h.open()
	h.check(h.wait(h.create(h.upload(input(500)))), 500)
	if health := h.engine.Health(t.Context()); !strings.Contains(health.Queue, "connecting") || q.pops.Load() != 0 {
		t.Errorf("health %+v, %d pops", health, q.pops.Load())
	}
	q.there.Store(true)
	until(t, "the queue is open", func() bool { return h.engine.Health(t.Context()).OK() })
	b := h.wait(h.create(h.upload(input(500))))
	h.check(b, 500)
	if q.pops.Load() == 0 {
		t.Error("the queue is not used")
	}
}

// A queue that cannot be used at all is refused.
func TestQueueRefused(t *testing.T) {
	h := newHouse(t, batch.Config{})
	engine := engine.NewEngine(batch.Config{}, sqlite.New(sqlite.Config{Path: h.dir + "/db"}), refusedQueue{memory.New()}, local.New(local.Config{Dir: h.dir + "/files"}), h.pool, zap.NewNop())
	if err := engine.Open(t.Context()); !errors.Is(err, errQueue) {
		t.Errorf("opened: %v", err)
	}
}

type refusedQueue struct{ batch.Queue }

func (refusedQueue) Open(context.Context) error { return errQueue }
