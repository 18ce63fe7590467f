package scheduler

import "github.com/tidegate/tidegate/batch"

const (
	// windowLoad is the number of slices that may be claimed at a time for a window, however
	// few lines may be in flight. With fewer, a window whose loads end at enough lines is not
	// filled.
	windowLoad = 16
	// windowSlices limits the slices of a window whose requests are not all in memory: all
	// claims are renewed together, and one search finds those of one gateway that died.
	windowSlices = batch.LapsedDepth
)

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
// prefilled. Requests beyond a part of the memory limit are not kept, see deferred.go. Most lines
// are left to peers.
func (q *batchQueue) window(deps *Dependencies, b *budget, sharers int) int {
	if q.linesRead == 0 || !q.shares() {
		return 0
	}
	bodies := b.bodies(sharers) * q.linesRead / max(1, q.bytesRead)
	keys := min(b.keys(q, sharers)/deferredBytes, int64(windowSlices/sharers)*q.linesRead/max(1, q.slicesRead))
	left := q.batch.Counts.Total - q.batch.Counts.Completed - q.batch.Counts.Failed
	if gateways := int64(deps.Gateways()); gateways > 1 {
		left /= 2 * gateways
	}
	return int(min(max(bodies, keys), left))
}

// enough returns how many pending lines are enough, so that no more are prefetched.
func (q *batchQueue) enough(ahead int) int {
	if q.shares() && !q.peersIdle.holds() {
		return ahead - ahead/8
	}
	return ahead / 2
}
