package scheduler

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// healthy ignores all errors.
type healthy struct{}

func (healthy) Note(string, error)              {}
func (healthy) NoteModel(string, error)         {}
func (healthy) NoteBatch(string, string, error) {}

// dependencies returns those of a Scheduler without a store, queue, files and upstreams.
func dependencies(cfg batch.Config) Dependencies {
	cfg = cfg.WithDefaults()
	return Dependencies{Config: func() *batch.Config { return &cfg }, Queue: noQueue{}, Health: healthy{}, Log: zap.NewNop(), NoteQueue: func(error) {}, WakeWorkers: func() {}, Notify: func() {}, Gateways: func() int { return 1 }}
}

// noQueue is a queue whose methods panic.
type noQueue struct{ batch.Queue }

func (noQueue) Capabilities() (c batch.QueueCapabilities) { return c }

// noBatches returns a Scheduler that may serve most batches at once. It is not started.
func noBatches(most int) *Scheduler {
	return New(dependencies(batch.Config{MaxConcurrentBatches: most}))
}

// waiting returns the rotation of a Scheduler in which batches wait.
func waiting(most int, batches ...batch.Batch) *rotation {
	s := noBatches(most)
	s.refreshed(batches)
	return s.rotation
}

// served returns which batches have a batch queue, in the order of their ids.
func (r *rotation) served() string {
	return strings.Join(slices.Sorted(maps.Keys(r.queues.byID)), " ")
}

func TestAdmit(t *testing.T) {
	now := time.Now()
	of := func(id, model string, priority int) batch.Batch {
		return batch.Batch{ID: id, Model: model, Priority: priority}
	}
	many := []batch.Batch{of("a", "m", 0), of("b", "n", 0), of("c", "m", 5), of("d", "n", 5), of("e", "o", -1)}
	for name, tt := range map[string]struct {
		most    int
		prepare func(r *rotation)
		places  places
		served  string // batches that get a place
		waiting string // those that wait afterwards, the next first
		next    string // the first of these that can use a turn
	}{
		"the highest priority first, then the oldest": {most: 3, served: "a c d", waiting: "b e", next: "b"},
		"no place":              {most: 3, places: places{taken: 3}, waiting: "c d a b e", next: "c"},
		"a place for each":      {most: 9, served: "a b c d e"},
		"models without any":    {most: 2, prepare: func(r *rotation) { r.models.unroutable["m"] = true }, served: "b d", waiting: "c a e", next: "e"},
		"nothing to be claimed": {most: 2, prepare: func(r *rotation) { r.backoffUntil["c"], r.backoffUntil["d"] = now.Add(batchBackoff), now.Add(-1) }, served: "a d", waiting: "c b e", next: "b"},
		"one is set aside, and a batch of its model waits": {
			most: 1, places: places{taken: 1, aside: 1, clogged: map[string]bool{"m": true}}, served: "d", waiting: "c a b e", next: "c",
		},
		"all wait for clogged models": {
			most: 1, places: places{taken: 1, aside: 1, clogged: map[string]bool{"m": true, "n": true, "o": true}}, waiting: "c d a b e", next: "c",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := waiting(tt.most, many...)
			if tt.prepare != nil {
				tt.prepare(r)
			}
			r.admit(&tt.places, now)
			if next := r.nextDue(now); tt.next != next {
				t.Errorf("next batch that could use a turn: got %q, want %q", next, tt.next)
			}
			if diff := cmp.Diff([]string{tt.served, tt.waiting}, []string{r.served(), strings.Join(r.waiting, " ")}); diff != "" {
				t.Errorf("batches that are served, and that wait (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnqueue(t *testing.T) {
	r := waiting(1, batch.Batch{ID: "a"}, batch.Batch{ID: "b", Priority: 5}, batch.Batch{ID: "c"}, batch.Batch{ID: "d", Priority: -3})
	for _, id := range []string{"a", "b", "d"} {
		r.waiting = slices.DeleteFunc(r.waiting, func(other string) bool { return other == id })
		r.enqueue(id)
	}
	if got, want := strings.Join(r.waiting, " "), "b c a d"; got != want {
		t.Errorf("order: got %s, want each behind those of its priority: %s", got, want)
	}
	batches := []batch.Batch{{ID: "a"}, {ID: "b"}, {ID: "c", Priority: 1}, {ID: "e", Priority: 1}}
	active := make(map[string]batch.Batch)
	for _, b := range batches {
		active[b.ID] = b
	}
	r.refreshed(batches, active)
	if got, want := strings.Join(r.waiting, " "), "c e b a"; got != want {
		t.Errorf("order: got %s, want the new priorities and no batch that has ended: %s", got, want)
	}
}

// TestLooksAgain checks that waiting batches of which none was due are searched again: at
// once when something changed, otherwise after rotationRetry.
func TestLooksAgain(t *testing.T) {
	for name, change := range map[string]func(r *rotation, now *time.Time){
		"time passed": func(r *rotation, now *time.Time) { delete(r.backoffUntil, "a"); *now = now.Add(rotationRetry) },
		"a refresh": func(r *rotation, _ *time.Time) {
			delete(r.backoffUntil, "a")
			r.refreshed([]batch.Batch{{ID: "a", Model: "x"}}, map[string]batch.Batch{"a": {ID: "a", Model: "x"}})
		},
		"another came": func(r *rotation, _ *time.Time) { r.active["b"] = batch.Batch{ID: "b"}; r.enqueue("b") },
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			r := waiting(1, batch.Batch{ID: "a", Model: "x"})
			r.backoffUntil["a"] = now.Add(time.Hour)
			r.admit(new(places), now)
			if next := r.nextDue(now); next != "" || r.served() != "" {
				t.Fatalf("before the change: got next %q and served %q, want none", next, r.served())
			}
			change(r, &now)
			if next := r.nextDue(now); next == "" {
				t.Error("next batch: got none, want one")
			}
			r.admit(new(places), now)
			if got := len(r.queues.byID); got != 1 {
				t.Errorf("batches that are served: got %d, want 1", got)
			}
		})
	}
}

// A model that has an upstream again ends the pause in which waiting batches are not
// searched.
func TestLooksAgainForModel(t *testing.T) {
	now := time.Now()
	d := dependencies(batch.Config{MaxConcurrentBatches: 1})
	d.Dispatcher = idlePool{}
	s := New(d)
	s.refreshed([]batch.Batch{{ID: "a", Model: "x"}})
	r := s.rotation
	r.backoffUntil["a"] = now.Add(time.Hour)
	if next := r.nextDue(now); next != "" {
		t.Fatalf("next batch: got %q, want none", next)
	}
	delete(r.backoffUntil, "a")
	s.models.unroutable["m"] = true // not named by an active batch
	s.startLines()
	if got, want := r.nextDue(now), "a"; got != want {
		t.Errorf("next batch: got %q, want %q", got, want)
	}
}

// TestRotate checks when a turn ends and when it continues.
func TestRotate(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		queue  batchQueue
		next   *batch.Batch // waits
		taken  int
		want   queueState
		clogs  string // a model that stalled batch queues wait for
		places int    // afterwards
	}{
		"no batch waits":                       {queue: batchQueue{loads: rotationSlices}, taken: 1, want: serving, places: 1},
		"its slices are not used up":           {queue: batchQueue{loads: rotationSlices - 1}, next: &batch.Batch{}, taken: 1, want: serving, places: 1},
		"its slices are used up":               {queue: batchQueue{loads: rotationSlices}, next: &batch.Batch{}, taken: 1, want: retiring, places: 1},
		"a batch of a lower priority waits":    {queue: batchQueue{loads: rotationSlices}, next: &batch.Batch{Priority: -1}, taken: 1, want: serving, places: 1},
		"a batch of a higher priority waits":   {queue: batchQueue{}, next: &batch.Batch{Priority: 1}, taken: 1, want: retiring, places: 1},
		"all that is left of it runs":          {queue: batchQueue{exhausted: true}, next: &batch.Batch{Priority: -1}, taken: 1, want: retiring, places: 1},
		"its input cannot be read":             {queue: batchQueue{outage: inputOutage{err: errAway}}, next: &batch.Batch{Priority: -1}, taken: 1, want: retiring, places: 1},
		"a load is in progress":                {queue: batchQueue{loads: rotationSlices, loading: true}, next: &batch.Batch{}, taken: 1, want: serving, places: 1},
		"a place is free":                      {queue: batchQueue{loads: rotationSlices}, next: &batch.Batch{}, taken: 0, want: serving, places: 0},
		"a place is free for a retiring batch": {queue: batchQueue{state: retiring}, taken: 0, want: serving, places: 1},
		"no place for a retiring batch":        {queue: batchQueue{state: retiring}, taken: 1, want: retiring, places: 1},
		"paused":                               {queue: batchQueue{state: paused, loads: rotationSlices}, next: &batch.Batch{}, taken: 1, want: paused, places: 1},
		"paused when its turn was over":        {queue: batchQueue{state: pausedRetiring}, taken: 0, want: pausedRetiring, places: 0},
		"the waiting batch needs a clogged model": {
			queue: batchQueue{loads: rotationSlices}, next: &batch.Batch{Model: "m"}, taken: 1, clogs: "m", want: serving, places: 1,
		},
		"both need a clogged model": {
			queue: batchQueue{batch: batch.Batch{Model: "m"}, loads: rotationSlices}, next: &batch.Batch{Model: "m"}, taken: 1, clogs: "m", want: retiring, places: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := noBatches(1).rotation
			q := &tt.queue
			r.queues.byID["served"] = q
			if tt.next != nil {
				r.active["next"] = *tt.next
				r.enqueue("next")
			}
			p := places{taken: tt.taken, clogged: map[string]bool{tt.clogs: tt.clogs != ""}}
			r.rotate(&p, now)
			if q.state != tt.want {
				t.Errorf("state: got %d, want %d", q.state, tt.want)
			}
			if p.taken != tt.places {
				t.Errorf("places taken: got %d, want %d", p.taken, tt.places)
			}
			if tt.want == serving && tt.places > tt.taken && q.loads != 0 {
				t.Errorf("loads of the new turn: got %d, want 0", q.loads)
			}
		})
	}
}

func TestEndTurns(t *testing.T) {
	now := time.Now()
	held := map[claimKey]*work{{number: 1}: {}}
	for name, tt := range map[string]struct {
		queue   batchQueue
		backoff bool
		active  bool
		places  places // clogged is not compared
		served  bool   // afterwards
		waiting string
	}{
		"serving":                            {queue: batchQueue{work: held}, active: true, places: places{taken: 1}, served: true},
		"serving, nothing in memory yet":     {queue: batchQueue{}, active: true, places: places{taken: 1}, served: true},
		"nothing to claim":                   {queue: batchQueue{}, backoff: true, active: true, waiting: "b"},
		"retiring, with lines":               {queue: batchQueue{state: retiring, work: held}, active: true, served: true},
		"retired":                            {queue: batchQueue{state: retiring}, active: true, waiting: "b"},
		"retired, a load is in progress":     {queue: batchQueue{state: retiring, loading: true}, active: true, served: true},
		"paused, with lines":                 {queue: batchQueue{state: paused, work: held}, served: true},
		"paused, its last line is durable":   {queue: batchQueue{state: paused}},
		"stalled for less than stallTime":    {queue: batchQueue{work: held, stalled: condition{now.Add(1 - stallTime)}}, active: true, places: places{taken: 1}, served: true},
		"stalled for stallTime is set aside": {queue: batchQueue{work: held, stalled: condition{now.Add(-stallTime)}}, active: true, places: places{taken: 1, aside: 1}, served: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := noBatches(1).rotation
			tt.queue.batch = batch.Batch{ID: "b", Model: "m"}
			r.queues.byID["b"] = &tt.queue
			if tt.active {
				r.active["b"] = tt.queue.batch
			}
			if tt.backoff {
				r.backOff("b", now)
			}
			p := r.endTurns(now)
			if p.taken != tt.places.taken || p.aside != tt.places.aside {
				t.Errorf("places: got %d taken, %d aside, want %d and %d", p.taken, p.aside, tt.places.taken, tt.places.aside)
			}
			if served := r.served() == "b"; served != tt.served {
				t.Errorf("served: got %v, want %v", served, tt.served)
			}
			if got := strings.Join(r.waiting, " "); got != tt.waiting {
				t.Errorf("waiting: got %q, want %q", got, tt.waiting)
			}
		})
	}
}

// TestUnreadableLeavesItsPlace checks that a batch whose slices cannot be read leaves its place
// to another one. It finds batches that wait for as long as the input of others is away.
func TestUnreadableLeavesItsPlace(t *testing.T) {
	for name, tt := range map[string]struct {
		waits  bool // another batch
		lines  bool // of the batch are in memory
		err    error
		served string
		unread int
	}{
		"another batch waits":    {waits: true, err: errAway, served: "b"},
		"none waits":             {err: errAway, served: "a", unread: 1},
		"it has lines to run":    {waits: true, lines: true, err: errAway, served: "a", unread: 1},
		"there is no memory yet": {waits: true, served: "a", unread: 1},
	} {
		t.Run(name, func(t *testing.T) {
			batches := []batch.Batch{{ID: "a", Model: "m"}}
			if tt.waits {
				batches = append(batches, batch.Batch{ID: "b", Model: "m"})
			}
			s := noBatches(1)
			s.refreshed(batches)
			s.rotation.admit(new(places), time.Now())
			if tt.lines {
				loadedSlice(s.queues, "a", 1, 1, 1)
			}
			q := s.queues.byID["a"]
			unread := claimed{Slice: batch.Slice{SliceClaim: claimOf("a", 2)}, until: time.Now().Add(time.Hour)}
			s.loaded(q, loaded{unread: []claimed{unread}, found: true, err: tt.err}, false)
			p := s.rotation.endTurns(time.Now())
			s.rotation.admit(&p, time.Now())
			if got := s.rotation.served(); got != tt.served || len(q.unread) != tt.unread {
				t.Errorf("got batch %s served and %d slices of the first one kept, want %s, %d", got, len(q.unread), tt.served, tt.unread)
			}
			if got, want := len(releasesOf(s.releases)), 1-tt.unread; got != want {
				t.Errorf("got %d slices released, want %d", got, want)
			}
		})
	}
}
