package scheduler

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler/order"
	"github.com/tidegate/tidegate/internal/openai"
)

// slotPool is a dispatcher with a number of slots by model. It records what was avoided.
type slotPool struct {
	idlePool
	slots   map[string]int
	avoided []string
}

type slot struct {
	batch.Slot
	upstream string
}

func (s slot) Upstream() string { return s.upstream }
func (s slot) Release()         {}

func (p *slotPool) Reserve(model, avoid string, _ func(string) bool) (batch.Slot, error) {
	free, known := p.slots[model]
	switch {
	case !known:
		return nil, batch.ErrUnknownModel
	case free == 0:
		return nil, batch.ErrBusy
	}
	p.slots[model]--
	p.avoided = append(p.avoided, avoid)
	return slot{upstream: "u"}, nil
}

func pickerOf(cfg batch.Config, queues *queueSet, dispatcher batch.Dispatcher) *picker {
	deps := dependencies(cfg)
	deps.Dispatcher = dispatcher
	return newPicker(&deps, queues, newClientLimits(&deps, new(deadlines)))
}

// Lines start by priority, then fewest running lines of their batch, then deadline, then
// id, as long as their model has a slot.
func TestPick(t *testing.T) {
	deadline := time.Now()
	of := func(id, model string, priority int, expires time.Duration) batch.Batch {
		return batch.Batch{ID: id, Model: model, Priority: priority, ExpiresAt: deadline.Add(expires)}
	}
	for name, tt := range map[string]struct {
		batches []batch.Batch // with two lines each
		slots   map[string]int
		state   queueState // of the first
		picked  string     // ids of the batches, in order
		full    map[string]bool
		without []string // models that have no upstream
	}{
		"highest priority first":  {batches: []batch.Batch{of("a", "m", 0, 0), of("b", "m", 1, 0)}, slots: map[string]int{"m": 9}, picked: "bbaa"},
		"batches of one priority": {batches: []batch.Batch{of("a", "m", 0, 2), of("b", "m", 0, 1), of("c", "m", 0, 1)}, slots: map[string]int{"m": 9}, picked: "bcabca"},
		"as many as slots":        {batches: []batch.Batch{of("a", "m", 0, 0)}, slots: map[string]int{"m": 1}, picked: "a", full: map[string]bool{"m": true}},
		"another model has slots": {batches: []batch.Batch{of("a", "m", 1, 0), of("b", "n", 0, 0)}, slots: map[string]int{"m": 1, "n": 1}, picked: "ab", full: map[string]bool{"m": true, "n": true}},
		"no upstream":             {batches: []batch.Batch{of("a", "m", 1, 0), of("b", "n", 0, 0)}, slots: map[string]int{"n": 9}, picked: "bb", full: map[string]bool{"m": true}, without: []string{"m"}},
		"paused":                  {batches: []batch.Batch{of("a", "m", 1, 0), of("b", "m", 0, 0)}, state: paused, slots: map[string]int{"m": 9}, picked: "bb"},
		"retiring":                {batches: []batch.Batch{of("a", "m", 1, 0), of("b", "m", 0, 0)}, state: retiring, slots: map[string]int{"m": 9}, picked: "aabb"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newQueueSet(unlimited)
			for i, b := range tt.batches {
				q := newBatchQueue(b)
				s.byID[b.ID] = q
				if i == 0 {
					q.state = tt.state
				}
				w := &work{batchQueue: q, left: 2}
				w.BatchID = b.ID
				for i := range 2 {
					w.lines = append(w.lines, newLine(w, i, request(b.Model)))
				}
				s.add(q, w)
			}
			p := pickerOf(batch.Config{}, s, &slotPool{slots: tt.slots})
			full := make(map[string]bool)
			var picked string
			var without []string
			for {
				l, slot := p.next(full, func(model string, _ error) { without = append(without, model) })
				if l == nil {
					break
				}
				if slot == nil {
					t.Fatal("slot: got nil, want one")
				}
				l.work.batchQueue.begin(l.model, 1)
				picked += l.work.BatchID
			}
			if picked != tt.picked {
				t.Errorf("batches of the lines: got %q, want %q", picked, tt.picked)
			}
			if want := tt.full; len(want)+len(full) > 0 && !cmp.Equal(full, want) {
				t.Errorf("full models: got %v, want %v", full, want)
			}
			if !slices.Equal(without, tt.without) {
				t.Errorf("models without an upstream: got %v, want %v", without, tt.without)
			}
		})
	}
}

// Of lines that may take their upstream down, one runs at a time. A line that failed
// avoids the upstream of its failure.
func TestPickSuspicious(t *testing.T) {
	s := newQueueSet(unlimited)
	w := loadedSlice(s, "a", 1, 3, 1)
	q := w.batchQueue
	for len(q.pending) > 0 {
		q.pop(w.lines[0].lane(), order.Server{})
	}
	w.lines[0].tries().crashes, w.lines[1].tries().crashes = crashLimit-1, crashLimit-1
	w.lines[2].tries().avoid = "v"
	for _, l := range w.lines {
		q.pushFront(l)
	}
	pool := &slotPool{slots: map[string]int{"m": 9}}
	p := pickerOf(batch.Config{}, s, pool)
	var first *line
	for range 2 {
		l, _ := p.next(map[string]bool{}, nil)
		if l == nil {
			t.Fatal("got no line, want one that is suspicious and one that is not")
		}
		p.started(l, "u")
		if l.suspicious() {
			first = l
		}
	}
	if first == nil || !slices.Contains(pool.avoided, "v") {
		t.Fatalf("got suspicious line %v, avoided upstreams %q, want a line, and v", first, pool.avoided)
	}
	if l, _ := p.next(map[string]bool{}, nil); l != nil {
		t.Error("while a suspicious line runs: got another, want none")
	}
	p.ended(first, &outcome{upstream: "u"})
	if l, _ := p.next(map[string]bool{}, nil); l == nil || !l.suspicious() || l == first {
		t.Error("after it has ended: got none, want the other suspicious line")
	}
}

// A deferred request leaves memory to a batch that is as urgent and has no line to start, because
// its next slice does not fit. It finds requests that fill what an urgent batch waits for.
func TestPickLeavesMemory(t *testing.T) {
	const size = 1000
	const memory = 40 * size
	for name, tt := range map[string]struct {
		change func(urgent *batchQueue)
		want   bool // a line of the deferred batch starts
	}{
		"as urgent":                        {func(*batchQueue) {}, false},
		"more urgent":                      {func(q *batchQueue) { q.batch.Priority = 1 }, false},
		"less urgent":                      {func(q *batchQueue) { q.batch.Priority = -1 }, true},
		"it has a line to start":           {func(q *batchQueue) { q.nPending = 1 }, true},
		"its turn is over":                 {func(q *batchQueue) { q.retire() }, true},
		"it is paused":                     {func(q *batchQueue) { q.pause() }, true},
		"its next slice fits":              {func(q *batchQueue) { q.unread[0].Length = size }, true},
		"nothing of it is in memory":       {func(q *batchQueue) { clear(q.work) }, true},
		"nothing of it is left to load":    {func(q *batchQueue) { q.unread, q.exhausted = nil, true }, true},
		"it is not known what it has left": {func(q *batchQueue) { q.unread = nil }, true}, // some memory is free
	} {
		d := dependencies(batch.Config{MemoryBytes: memory})
		d.Dispatcher = &slotPool{slots: map[string]int{"m": 100}}
		s := New(d)
		w := deferredSlice(s.queues, "deferred", 1, 30, size)
		for range 12 { // together more than a batch may have in any case
			if l := startNext(s); l == nil {
				t.Fatalf("%s: the first lines do not start", name)
			}
		}
		aborted := 0
		other := loadedSlice(s.queues, "urgent", 1, 1, 10)
		run(other.lines[0], &aborted)
		q := other.batchQueue
		unread := claimed{}
		unread.Length = s.queues.budget.free() + 1
		q.unread = []claimed{unread}
		tt.change(q)
		s.picker.beginRound()
		l, _ := s.picker.next(map[string]bool{}, func(string, error) {})
		if got := l != nil && l.work == w; got != tt.want {
			t.Errorf("%s: a deferred line starts: got %v, want %v", name, got, tt.want)
		}
	}
}

// slowPool is a slotPool whose upstream may run only what fits it.
type slowPool struct{ slotPool }

func (p *slowPool) Reserve(model, avoid string, fit func(string) bool) (batch.Slot, error) {
	if !fit("u") {
		return nil, batch.ErrBusy
	}
	return p.slotPool.Reserve(model, avoid, fit)
}

// While lines of one model of a batch wait for a faster upstream, those of another model
// of the same batch start.
func TestPickOtherModelWhileLinesWait(t *testing.T) {
	for range 20 { // the order of lanes is random
		s := newQueueSet(unlimited)
		q := newBatchQueue(batch.Batch{ID: "a"})
		s.byID["a"] = q
		w := &work{batchQueue: q, left: 2}
		for i, model := range []string{"m", "n"} {
			w.lines = append(w.lines, newLine(w, i, request(model)))
		}
		s.add(q, w)
		p := pickerOf(batch.Config{}, s, &slowPool{slotPool{slots: map[string]int{"m": 9, "n": 9}}})
		p.speeds.learn(seat{"m", "u"}, 10*time.Minute, 10)
		p.speeds.learn(seat{"m", "fast"}, 10*time.Second, 10)
		q.runningOn[seat{"m", "fast"}], q.startedAt, q.exhausted = running{lines: 1}, time.Now(), true
		full := make(map[string]bool)
		l, _ := p.next(full, nil)
		if l == nil || l.model != "n" {
			t.Fatalf("line that starts: got %v, want that of model n", l)
		}
		if l, _ := p.next(full, nil); l != nil {
			t.Fatalf("then: got a line of model %s, want none", l.model)
		}
	}
}

// An upstream leaves lines to the one that has read their prefix, but not for long: that one
// may take few lines at a time.
func TestWaitForPrefix(t *testing.T) {
	s := newQueueSet(unlimited)
	q := newBatchQueue(batch.Batch{ID: "a", Model: "m"})
	s.byID["a"] = q
	w := &work{batchQueue: q, left: 3}
	for i := range w.left {
		body := fmt.Sprintf(`{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"%s %d"}]}`, strings.Repeat("shared ", 500), i)
		w.lines = append(w.lines, newLine(w, i, openai.Request{Model: "m", Body: []byte(body)}))
	}
	s.add(q, w)
	p, of := pickerOf(batch.Config{}, s, &slotPool{}), lane{model: "m"}
	for _, upstream := range []string{"u", "v"} { // v has read nothing that the other lines share
		q.runOn(seat{"m", upstream}, 1, 10)
	}
	q.running = 2
	p.started(q.pop(of, order.Server{Name: "u"}), "u")
	if f := p.fitOf(q, of); !f.fits("u") || f.fits("v") || !f.refused {
		t.Error("at first: want a line for u alone")
	}
	later := p.fitOf(q, of)
	later.now = later.now.Add(idleLeast / 2)
	if later.fits("v") {
		t.Errorf("after %s: got a line for v, want none", idleLeast/2)
	}
	later.now = later.now.Add(idleLeast)
	if !later.fits("v") {
		t.Errorf("after more than %s: got no line for v", idleLeast)
	}
}

// A speed is known after several tokens: that of one token may be wrong by a third.
func TestSpeedOfFewTokens(t *testing.T) {
	s, at := make(speeds), seat{"m", "u"}
	for i := range speedLeast {
		s.learn(at, 4*time.Millisecond, 1)
		if known := s.of(at) != nil; known && i < speedLeast-1 {
			t.Fatalf("after %d tokens: the speed is known, want not before %d", i+1, speedLeast)
		}
	}
	s.learn(at, 8*time.Millisecond, 2)
	if got := s.of(at); got == nil || math.Abs(got.perToken()-0.004) > 1e-9 {
		t.Errorf("then: got %v, want 4 ms for each token", got)
	}
	if got := s.mean("m"); math.Abs(got-0.004) > 1e-9 {
		t.Errorf("mean: got %v s for each token, want 0.004", got)
	}
}
