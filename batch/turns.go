package batch

import (
	"cmp"
	"slices"
)

// sortTurns puts batches of larger priorities first; others stay in the order
// in which they began to wait.
func (r *runner) sortTurns() {
	slices.SortStableFunc(r.turns, func(a, b string) int {
		return cmp.Compare(r.active[b].Priority, r.active[a].Priority)
	})
}

// turnOver tells whether a feed is to make room for the first that waits.
func (r *runner) turnOver(f *feed) bool {
	if len(r.turns) == 0 {
		return false
	}
	waiting := r.active[r.turns[0]].Priority
	return waiting > f.batch.Priority || waiting == f.batch.Priority && f.loads >= turnSlices
}
