package scheduler

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// inputMemory accounts for the input of batches that is held in memory.
type inputMemory struct {
	taken     int64                    // bytes of input in batch queues; owned by the loop
	checked   time.Time                // when the loop last evaluated memory pressure
	published atomic.Int64             // taken, for readers outside of the loop
	shortage  atomic.Pointer[shortage] // the last one; nil if there was none
}

// shortage records that slots stayed free because the memory limit was reached.
type shortage struct {
	at     time.Time
	wanted int64 // bytes
}

const (
	// memoryCheckInterval limits how often memory pressure is evaluated.
	memoryCheckInterval = time.Second
	// shortageTTL is how long a shortage is reported.
	shortageTTL = time.Minute
)

// Memory tells what is taken, and whether that was too little.
func (r *Scheduler) Memory(now time.Time) batch.Memory {
	m := batch.Memory{Limit: r.deps.Config().MemoryBytes, Taken: r.memory.published.Load()}
	if s := r.memory.shortage.Load(); s != nil && now.Sub(s.at) < shortageTTL {
		m.Wanted = s.wanted
	}
	return m
}

// noRoom reports whether a batch queue reads nothing until some of its lines are done.
func (r *Scheduler) noRoom(f *batchQueue) bool {
	free := r.deps.Config().MemoryBytes - r.memory.taken
	return len(f.work) > 0 && (free <= 0 || len(f.unread) > 0 && free < f.unread[0].Length)
}

// noteShortage finds out whether slots stay free because what could take them
// is not read.
func (r *Scheduler) noteShortage(now time.Time) {
	if now.Sub(r.memory.checked) < memoryCheckInterval || r.inFlight >= r.MaxInFlight() {
		return
	}
	r.memory.checked = now
	for _, f := range r.queues {
		if r.short(f) && r.deps.Dispatcher.Free(f.batch.Model) {
			r.noteShort(now)
			return
		}
	}
}

// short reports whether a batch queue has nothing to start, and more than is read. Where
// most of its lines wait for their retry it is the servers that take no more;
// where lines name different models nothing is known of slots that would take
// them.
func (r *Scheduler) short(f *batchQueue) bool {
	if f.paused || f.nPending > 0 || f.backingOff > f.running || f.batch.Model == "" || !r.noRoom(f) {
		return false
	}
	c := f.batch.Counts
	return len(f.unread) > 0 || c.Total-c.Completed-c.Failed > f.held()
}

// held is how many lines a batch queue has in memory.
func (f *batchQueue) held() (n int64) {
	for _, w := range f.work {
		n += int64(w.left)
	}
	return n
}

// noteShort records that slots are free because the memory limit is reached. What would fill
// them is what a line takes now, for each slot twice.
func (r *Scheduler) noteShort(now time.Time) {
	limit, held := r.deps.Config().MemoryBytes, int64(0)
	for _, f := range r.queues {
		held += f.held()
	}
	s := &shortage{now, max(2*limit, 2*int64(r.deps.Dispatcher.Slots())*r.memory.taken/max(held, 1))}
	before := r.memory.shortage.Swap(s)
	r.counters.short.Add(1)
	if before == nil || now.Sub(before.at) >= shortageTTL {
		r.deps.Log.Warn("batch slots idle: request memory limit reached", zap.Int64("memory_bytes", limit), zap.Int64("wanted_bytes", s.wanted))
	}
}
