package scheduler

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
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
