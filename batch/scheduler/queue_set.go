package scheduler

import (
	"maps"
	"slices"

	"github.com/tidegate/tidegate/batch"
)

// queueSet holds the batch queues by batch. They contain the slices that this gateway has
// claimed, and the requests that it has in memory.
type queueSet struct {
	byID   map[string]*batchQueue
	budget budget
}

// newQueueSet returns a queueSet without batch queues. memory returns the memory limit.
func newQueueSet(memory func() int64) *queueSet {
	return &queueSet{byID: make(map[string]*batchQueue), budget: budget{limit: memory}}
}

// add adds a slice that was read, with its lines.
func (s *queueSet) add(q *batchQueue, w *work) {
	q.work[keyOf(w.SliceClaim)] = w
	q.loads++
	q.slicesRead++
	q.linesRead += int64(len(w.lines))
	q.bytesRead += w.size()
	s.budget.add(q, w.holds())
	q.left += int64(w.left)
	w.pending, w.untried = len(w.lines), len(w.lines)
	q.releasable[w.releasable]++
	for _, l := range w.lines {
		q.push(l)
	}
}

// dropBatch removes a batch that is not active any more. Its claims are stale already.
func (s *queueSet) dropBatch(q *batchQueue) {
	s.dropWork(slices.Collect(maps.Values(q.work))...)
	q.unread = nil
	if s.byID[q.batch.ID] == q {
		delete(s.byID, q.batch.ID)
	}
}

// dropWork removes slices that are not claimed any more, and aborts their lines.
func (s *queueSet) dropWork(dropped ...*work) {
	queues := make(map[*batchQueue]bool)
	for _, w := range dropped {
		if !w.dropped {
			s.drop(w)
			queues[w.batchQueue] = true
		}
	}
	for q := range queues {
		q.sweep()
	}
}

// drop removes a slice. The lines that were withdrawn are to be swept.
func (s *queueSet) drop(w *work) {
	w.dropped = true
	q := w.batchQueue
	for _, l := range w.lines {
		if l.state == lineRunning {
			l.attempts.abort()
		}
	}
	q.withdraw(w.lines)
	s.forget(w)
	s.budget.add(q, w.holds().negative())
	q.left -= int64(w.left)
}

// keep removes the request of a line from memory. A number of bytes is left.
func (s *queueSet) keep(l *line, bytes int32) {
	before := l.holds()
	l.counted, l.request = bytes, nil
	s.budget.add(l.work.batchQueue, l.holds().plus(before.negative()))
}

// free removes a line that is not sent any more from memory.
func (s *queueSet) free(l *line) { s.keep(l, 0) }

// committed records that a line has a durable result, or that its result was refused.
// It reports whether that was the last of its slice.
func (s *queueSet) committed(l *line) (last bool) {
	w := l.work
	l.become(lineEnded)
	if !w.dropped {
		w.batchQueue.left--
		if l.deferred() { // the line itself counts
			w.lines = slices.DeleteFunc(w.lines, func(other *line) bool { return other == l })
		}
		s.free(l)
	}
	w.left--
	w.batchQueue.pace.add()
	return w.left == 0 && !w.dropped
}

// end removes a slice in which no line is left.
func (s *queueSet) end(w *work) {
	w.dropped = true
	s.forget(w)
}

// forget removes a slice that was dropped from its batch queue.
func (s *queueSet) forget(w *work) {
	q := w.batchQueue
	delete(q.work, keyOf(w.SliceClaim))
	q.classify(w)
	q.releasable[w.releasable]--
}

// read counts the request that an attempt at a line reads, or with 0 that it has ended.
func (s *queueSet) read(l *line, bytes int64) {
	change := bytes - int64(l.read)
	l.read = int32(bytes)
	s.budget.add(l.work.batchQueue, holding{reading: change})
}

// claims returns the claims of all slices.
func (s *queueSet) claims() []batch.SliceClaim {
	var held []batch.SliceClaim
	for _, q := range s.byID {
		for _, w := range q.work {
			held = append(held, w.SliceClaim)
		}
		for _, c := range q.unread {
			held = append(held, c.SliceClaim)
		}
	}
	return held
}

// lineBytes returns the mean size of the requests that were read.
func (s *queueSet) lineBytes() int64 {
	var bytes, lines int64
	for _, q := range s.byID {
		bytes += q.bytesRead
		lines += q.linesRead
	}
	return bytes / max(lines, 1)
}

// held returns how many lines are in memory without a durable result.
func (s *queueSet) held() (n int64) {
	for _, q := range s.byID {
		n += q.left
	}
	return n
}

// first returns the highest priority among batch queues that load slices, and how many
// have it. These share all slots.
func (s *queueSet) first() (priority, n int) {
	for _, q := range s.byID {
		switch {
		case q.state != serving || n > 0 && q.batch.Priority < priority:
		case n > 0 && q.batch.Priority == priority:
			n++
		default:
			priority, n = q.batch.Priority, 1
		}
	}
	return priority, n
}
