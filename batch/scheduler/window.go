package scheduler

// windowLoad is the number of slices that may be claimed at a time for a window, however
// few lines may be in flight. With fewer, a window whose loads end at enough lines is not
// filled.
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

// window returns how many lines are prefetched of a batch whose lines share prefixes, 0 for
// other batches: the more lines there are to choose from, the less often a prefix is
// prefilled. They take at most half of the memory limit, and leave most lines to peers.
func (q *batchQueue) window(deps *Dependencies, sharers int) int {
	if q.linesRead == 0 || !q.shares() {
		return 0
	}
	room := deps.Config().MemoryBytes / 2 / int64(sharers) * q.linesRead / max(1, q.bytesRead)
	left := q.batch.Counts.Total - q.batch.Counts.Completed - q.batch.Counts.Failed
	if gateways := int64(deps.Gateways()); gateways > 1 {
		left /= 2 * gateways
	}
	return int(min(room, left))
}

// enough returns how many pending lines are enough, so that no more are prefetched.
func (q *batchQueue) enough(ahead int) int {
	if q.shares() {
		return ahead - ahead/8
	}
	return ahead / 2
}
