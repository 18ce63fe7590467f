package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler/order"
	"github.com/tidegate/tidegate/internal/openai"
)

// freePool is a dispatcher with a free slot for every model.
type freePool struct{ idlePool }

func (freePool) Free(string) bool { return true }

func TestMemoryPressure(t *testing.T) {
	const limit = 1000
	for name, tt := range map[string]struct {
		prepare func(q *batchQueue, aborted *int)
		busy    bool // as many lines are in flight as may be
		want    bool
	}{
		"lines wait for a slot": {prepare: func(*batchQueue, *int) {}},
		"all lines run, and more are unread": {
			prepare: func(q *batchQueue, aborted *int) { runAll(q, aborted); q.batch.Counts.Total = 100 }, want: true,
		},
		"all lines run, and no more are left": {
			prepare: func(q *batchQueue, aborted *int) { runAll(q, aborted); q.batch.Counts.Total = 2 },
		},
		"as many lines run as may": {
			prepare: func(q *batchQueue, aborted *int) { runAll(q, aborted); q.batch.Counts.Total = 100 }, busy: true,
		},
		"most lines wait for their retry": {
			prepare: func(q *batchQueue, aborted *int) { runAll(q, aborted); q.batch.Counts.Total, q.backingOff = 100, 9 },
		},
		"paused": {
			prepare: func(q *batchQueue, aborted *int) { runAll(q, aborted); q.batch.Counts.Total = 100; q.pause() },
		},
		"a batch of several models": {
			prepare: func(q *batchQueue, aborted *int) {
				runAll(q, aborted)
				q.batch.Counts.Total, q.batch.Model = 100, ""
			},
		},
	} {
		d := dependencies(batch.Config{MemoryBytes: limit})
		d.Dispatcher = freePool{}
		s := New(d)
		w := loadedSlice(s.queues, "a", 1, 2, limit/2)
		aborted := 0
		tt.prepare(w.batchQueue, &aborted)
		now := time.Now()
		s.memory.check(!tt.busy, now)
		want := int64(0)
		if tt.want {
			want = 2 * limit
		}
		if got := s.memory.report(now).Wanted; got != want {
			t.Errorf("%s: wanted bytes: got %d, want %d", name, got, want)
		}
		if got := s.memory.report(now.Add(shortageTTL)).Wanted; got != 0 {
			t.Errorf("%s: wanted bytes after shortageTTL: got %d, want 0", name, got)
		}
	}
}

func runAll(q *batchQueue, aborted *int) {
	for _, w := range q.work {
		for _, l := range w.lines {
			run(l, aborted)
		}
	}
}

// The prompts that are remembered to order later lines count as memory for requests.
func TestKeptPromptsCount(t *testing.T) {
	const limit = 10_000
	s := New(dependencies(batch.Config{MemoryBytes: limit}))
	w := &work{batchQueue: newBatchQueue(batch.Batch{ID: "a"}), left: 3}
	s.queues.byID["a"] = w.batchQueue
	for i := range w.left {
		body := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"%s %d"}]}`, strings.Repeat("shared ", 400), i)
		w.lines = append(w.lines, &line{work: w, index: i, request: openai.Request{Model: "m", Body: []byte(body)}})
		w.bytes += int64(len(body))
	}
	s.queues.add(w.batchQueue, w)
	if got := s.queues.taken(); got != w.bytes || s.queues.noRoom(w.batchQueue, limit) {
		t.Fatalf("before a line starts: got %d bytes, want %d and room for more", got, w.bytes)
	}
	l := w.batchQueue.pop(lane{model: "m"}, order.Server{Name: "u"})
	if got := s.queues.taken(); got < w.bytes+2500 || !s.queues.noRoom(w.batchQueue, limit) {
		t.Errorf("while a line runs: got %d bytes, want its prompt beside the %d of requests, and no room", got, w.bytes)
	}
	before := w.bytes
	s.queues.committed(l)
	if got := s.queues.taken(); w.bytes >= before || got < w.bytes+2500 {
		t.Errorf("after its end: got %d bytes, want its prompt beside the %d of requests", got, w.bytes)
	}
}
