package scheduler

// windowLoad limits how many slices are claimed at a time for a window.
const windowLoad = 16

// shares reports whether lines of a batch share prefixes.
func (f *batchQueue) shares() bool {
	for _, q := range f.orders {
		if q.Shares() {
			return true
		}
	}
	return false
}

// window returns how many lines are read ahead of a batch whose lines share prefixes, 0
// for other batches: the more lines there are to choose from, the fewer times a prefix
// is prefilled. They take at most half of the memory limit, and leave most lines to
// other gateways.
func (r *Scheduler) window(f *batchQueue, sharers int) int {
	if f.linesRead == 0 || !f.shares() {
		return 0
	}
	room := r.deps.Config().MemoryBytes / 2 / int64(sharers) * f.linesRead / max(1, f.bytesRead)
	left := f.batch.Counts.Total - f.batch.Counts.Completed - f.batch.Counts.Failed
	if gateways := int64(r.deps.Gateways()); gateways > 1 {
		left /= 2 * gateways
	}
	return int(min(room, left))
}

// enough returns with how many lines in memory no more are read ahead.
func (f *batchQueue) enough(ahead int) int {
	if f.shares() {
		return ahead - ahead/8
	}
	return ahead / 2
}
