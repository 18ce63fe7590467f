package batch

import (
	"time"

	"go.uber.org/zap"
)

// shortage is that slots stayed free for want of memory.
type shortage struct {
	at     time.Time
	wanted int64 // bytes
}

const (
	// shortLook is how often it is looked for a shortage, at most.
	shortLook = time.Second
	// shortTime is how long one is spoken of.
	shortTime = time.Minute
)

// memoryNow tells what is taken, and whether that was too little.
func (r *runner) memoryNow(now time.Time) Memory {
	m := Memory{Limit: r.engine.config().MemoryBytes, Taken: r.memoryTaken.Load()}
	if s := r.shortage.Load(); s != nil && now.Sub(s.at) < shortTime {
		m.Wanted = s.wanted
	}
	return m
}

// noRoom tells whether a feed reads nothing until some of its lines are done.
func (r *runner) noRoom(f *feed) bool {
	free := r.engine.config().MemoryBytes - r.memory
	return len(f.work) > 0 && (free <= 0 || len(f.unread) > 0 && free < f.unread[0].Length)
}

// noteShortage finds out whether slots stay free because what could take them
// is not read.
func (r *runner) noteShortage(now time.Time) {
	if now.Sub(r.shortLooked) < shortLook || r.inFlight >= r.engine.maxInFlight() {
		return
	}
	r.shortLooked = now
	for _, f := range r.feeds {
		if r.short(f) && r.engine.dispatcher.Free(f.batch.Model) {
			r.noteShort(now)
			return
		}
	}
}

// short tells whether a feed has nothing to start, and more than is read. Where
// most of its lines wait for their retry it is the servers that take no more;
// where lines name different models nothing is known of slots that would take
// them.
func (r *runner) short(f *feed) bool {
	if f.paused || f.nPending > 0 || f.resting > f.running || f.batch.Model == "" || !r.noRoom(f) {
		return false
	}
	c := f.batch.Counts
	return len(f.unread) > 0 || c.Total-c.Completed-c.Failed > f.held()
}

// held is how many lines a feed has in memory.
func (f *feed) held() (n int64) {
	for _, w := range f.work {
		n += int64(w.left)
	}
	return n
}

// noteShort takes in that slots are free for want of memory. What would fill
// them is what a line takes now, for each slot twice.
func (r *runner) noteShort(now time.Time) {
	e := r.engine
	limit, held := e.config().MemoryBytes, int64(0)
	for _, f := range r.feeds {
		held += f.held()
	}
	s := &shortage{now, max(2*limit, 2*int64(e.dispatcher.Slots())*r.memory/max(held, 1))}
	before := r.shortage.Swap(s)
	e.metrics.short.Add(1)
	if before == nil || now.Sub(before.at) >= shortTime {
		e.log.Warn("slots stay free for want of memory for requests", zap.String("memory", size(limit)), zap.String("wanted", size(s.wanted)))
	}
}
