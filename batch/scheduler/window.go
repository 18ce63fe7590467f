package scheduler

// windowLoad limits how many slices are claimed at a time for a window.
const windowLoad = 16

// shares reports whether lines of a batch share prefixes.
func (q *batchQueue) shares() bool {
	for _, lines := range q.orders {
		if lines.Shares() {
			return true
		}
	}
	return false
}

// window returns how many lines are read ahead of a batch whose lines share prefixes, 0
// for other batches: the more lines there are to choose from, the fewer times a prefix
// is prefilled. They take at most half of the memory limit, and leave most lines to
// other gateways.
func (s *Scheduler) window(q *batchQueue, sharers int) int {
	if q.linesRead == 0 || !q.shares() {
		return 0
	}
	room := s.deps.Config().MemoryBytes / 2 / int64(sharers) * q.linesRead / max(1, q.bytesRead)
	left := q.batch.Counts.Total - q.batch.Counts.Completed - q.batch.Counts.Failed
	if gateways := int64(s.deps.Gateways()); gateways > 1 {
		left /= 2 * gateways
	}
	return int(min(room, left))
}

// enough returns with how many lines in memory no more are read ahead.
func (q *batchQueue) enough(ahead int) int {
	if q.shares() {
		return ahead - ahead/8
	}
	return ahead / 2
}
