package scheduler

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// healthy ignores all errors.
type healthy struct{}

func (healthy) Note(string, error)      {}
func (healthy) NoteBatch(string, error) {}

// dependencies are those of a Scheduler without a store, queue, files and upstreams.
func dependencies(cfg batch.Config) Dependencies {
	cfg = cfg.WithDefaults()
	return Dependencies{Config: func() *batch.Config { return &cfg }, Queue: noQueue{}, Health: healthy{}, Log: zap.NewNop(), NoteQueue: func(error) {}, WakeWorkers: func() {}, Notify: func() {}}
}

// noQueue is a queue that must not be asked.
type noQueue struct{ batch.Queue }

func (noQueue) Capabilities() (c batch.QueueCapabilities) { return c }

// waiting is a Scheduler in which batches wait, given as "id model priority" in the
// order in which they came.
func waiting(most int, batches ...batch.Batch) *Scheduler {
	r := New(dependencies(batch.Config{MaxConcurrentBatches: most}))
	r.refreshed(batches)
	return r
}

func TestTurns(t *testing.T) {
	now := time.Now()
	of := func(id, model string, priority int) batch.Batch {
		return batch.Batch{ID: id, Model: model, Priority: priority}
	}
	many := []batch.Batch{of("a", "m", 0), of("b", "n", 0), of("c", "m", 5), of("d", "n", 5), of("e", "o", -1)}
	for name, tt := range map[string]struct {
		most    int
		prepare func(r *Scheduler)
		places  places
		given   string // batches that get batch queues
		left    string // those that wait after, the next first
		next    string // the first of these that could use a turn
	}{
		"the largest priority first, then the oldest": {most: 3, given: "a c d", left: "b e", next: "b"},
		"no seat":             {most: 3, places: places{taken: 3}, left: "c d a b e", next: "c"},
		"a seat for each":     {most: 9, given: "a b c d e"},
		"models without any":  {most: 2, prepare: func(r *Scheduler) { r.unroutable["m"] = true }, given: "b d", left: "c a e", next: "e"},
		"nothing to be found": {most: 2, prepare: func(r *Scheduler) { r.backoffUntil["c"], r.backoffUntil["d"] = now.Add(batchBackoff), now.Add(-1) }, given: "a d", left: "c b e", next: "b"},
		"one is set aside, and what waits for the same with it": {
			most: 1, places: places{taken: 1, aside: 1, clogged: map[string]bool{"m": true}}, given: "d", left: "c a b e", next: "c",
		},
		"all wait for what others are set aside for": {
			most: 1, places: places{taken: 1, aside: 1, clogged: map[string]bool{"m": true, "n": true, "o": true}}, left: "c d a b e", next: "c",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := waiting(tt.most, many...)
			if tt.prepare != nil {
				tt.prepare(r)
			}
			r.admitWaiting(&tt.places, now)
			var given []string
			for id := range r.queues {
				given = append(given, id)
			}
			slices.Sort(given)
			if next := r.nextDue(now); tt.next != next {
				t.Errorf("%q could follow another, want %q", next, tt.next)
			}
			if diff := cmp.Diff([]string{tt.given, tt.left}, []string{strings.Join(given, " "), strings.Join(r.rotation, " ")}); diff != "" {
				t.Errorf("who gets a feed, and who waits (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLineUp(t *testing.T) {
	r := waiting(1, batch.Batch{ID: "a"}, batch.Batch{ID: "b", Priority: 5}, batch.Batch{ID: "c"}, batch.Batch{ID: "d", Priority: -3})
	for _, id := range []string{"a", "b", "d"} {
		r.rotation = slices.DeleteFunc(r.rotation, func(turn string) bool { return turn == id })
		r.enqueue(id)
	}
	if got := strings.Join(r.rotation, " "); got != "b c a d" {
		t.Errorf("%s, want each behind those of its priority: b c a d", got)
	}
	r.refreshed([]batch.Batch{{ID: "a"}, {ID: "b"}, {ID: "c", Priority: 1}, {ID: "e", Priority: 1}})
	if got := strings.Join(r.rotation, " "); got != "c e b a" {
		t.Errorf("%s, want the new priorities and no batch that is over: c e b a", got)
	}
}

// TestLooksAgain holds that batches of which none was due are looked for again:
// at once when something changed, else after a while.
func TestLooksAgain(t *testing.T) {
	for name, change := range map[string]func(r *Scheduler, now *time.Time){
		"time passed": func(r *Scheduler, now *time.Time) { delete(r.backoffUntil, "a"); *now = now.Add(rotationRetry) },
		"a refresh": func(r *Scheduler, _ *time.Time) {
			delete(r.backoffUntil, "a")
			r.refreshed([]batch.Batch{{ID: "a", Model: "x"}})
		},
		"another came": func(r *Scheduler, _ *time.Time) { r.active["b"] = batch.Batch{ID: "b"}; r.enqueue("b") },
		"a model has a server again": func(r *Scheduler, _ *time.Time) {
			delete(r.backoffUntil, "a")
			r.unroutable["m"] = true
			r.checkUnroutable()
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			r := waiting(1, batch.Batch{ID: "a", Model: "x"})
			r.backoffUntil["a"] = now.Add(time.Hour)
			r.admitWaiting(new(places), now)
			if next := r.nextDue(now); next != "" || len(r.queues) > 0 {
				t.Fatalf("%s had a turn", next)
			}
			change(r, &now)
			if next := r.nextDue(now); next == "" {
				t.Error("nobody is next")
			}
			r.admitWaiting(new(places), now)
			if len(r.queues) != 1 {
				t.Errorf("%d have a turn, want 1", len(r.queues))
			}
		})
	}
}

func TestFirstFeeds(t *testing.T) {
	for name, tt := range map[string]struct {
		queues      []batchQueue
		priority, n int
	}{
		"none":                    {},
		"all of one priority":     {[]batchQueue{{}, {}, {}}, 0, 3},
		"some of a larger one":    {[]batchQueue{{batch: batch.Batch{Priority: 2}}, {}, {batch: batch.Batch{Priority: 2}}}, 2, 2},
		"all below nothing":       {[]batchQueue{{batch: batch.Batch{Priority: -7}}, {batch: batch.Batch{Priority: -9}}}, -7, 1},
		"some that start nothing": {[]batchQueue{{batch: batch.Batch{Priority: 9}, paused: true}, {batch: batch.Batch{Priority: 8}, retiring: true}, {}}, 0, 1},
	} {
		r := waiting(9)
		for i := range tt.queues {
			r.queues[strconv.Itoa(i)] = &tt.queues[i]
		}
		if priority, n := r.firstQueues(); priority != tt.priority || n != tt.n {
			t.Errorf("%s: %d of priority %d, want %d of %d", name, n, priority, tt.n, tt.priority)
		}
	}
}

// manyActive is a store with a number of active batches, which counts how often
// it is asked for them.
type manyActive struct {
	batch.Store
	batches []batch.Batch
	asked   atomic.Int64
}

func (s *manyActive) ActiveBatches(context.Context, int) ([]batch.Batch, error) {
	s.asked.Add(1)
	return s.batches, nil
}

// room are files that can be stored.
type room struct{ batch.Files }

func (room) Ping(context.Context) error { return nil }

// idlePool is a dispatcher whose slots never get free.
type idlePool struct{ batch.Dispatcher }

func (idlePool) Freed() <-chan struct{} { return nil }
func (idlePool) Slots() int             { return 0 }

func (idlePool) Capabilities() (c batch.DispatcherCapabilities) { return c }

// TestRefreshRests asks for a refresh over and over, as when batch after batch is
// created: the more are active, the more seldom the store is asked.
func TestRefreshRests(t *testing.T) {
	store := &manyActive{batches: make([]batch.Batch, 400)}
	for i := range store.batches {
		store.batches[i] = batch.Batch{ID: strconv.Itoa(i), PausedAt: time.Now()}
	}
	d := dependencies(batch.Config{})
	d.Store, d.Files, d.Dispatcher = store, room{}, idlePool{}
	r := New(d)
	begin := time.Now()
	r.Start()
	for store.asked.Load() < 5 { // as soon as it may be
		r.Refresh()
		time.Sleep(time.Millisecond)
	}
	if took, least := time.Since(begin), 4*time.Duration(len(store.batches))*refreshDelay; took < least {
		t.Errorf("five refreshes in %s, want %s between the first and the last at least", took, least)
	}
	r.Stop()
}
