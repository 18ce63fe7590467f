package scheduler

import (
	"cmp"
	"slices"
)

// Tenants share slots and places by their weights: lines of the tenant with the fewest
// running lines start first, and batches of the tenant with the fewest turns get the next
// place. Priorities count among the batches of a tenant. With a single tenant nothing of
// this has an effect.

// weight returns the weight of a tenant.
func (d *Dependencies) weight(tenant string) float64 {
	if w := d.Config().Weights[tenant]; w > 0 {
		return w
	}
	return 1
}

// shares counts running lines, or places, by tenant.
type shares struct {
	deps *Dependencies
	of   map[string]int
}

// count counts the batch queues by n. Those for which n is negative do not count.
func (s *shares) count(queues *queueSet, n func(*batchQueue) int) {
	if s.of == nil {
		s.of = make(map[string]int)
	}
	clear(s.of)
	for _, q := range queues.byID {
		if count := n(q); count >= 0 {
			s.of[q.batch.Tenant] += count
		}
	}
}

// next returns the share of a tenant with one more, relative to its weight.
func (s *shares) next(tenant string) float64 {
	return float64(s.of[tenant]+1) / s.deps.weight(tenant)
}

// add adds to the share of a tenant.
func (s *shares) add(tenant string, n int) {
	if s.of != nil {
		s.of[tenant] += n
	}
}

// compare compares whose turn is first.
func (s *shares) compare(a, b string) int {
	if a == b {
		return 0
	}
	return cmp.Compare(s.next(a), s.next(b))
}

// turns orders waiting batches of several tenants by start-time fair queuing (Goyal, Vin
// and Cheng, 1996): each turn costs a tenant the inverse of its weight.
type turns struct {
	deps *Dependencies
	now  float64            // virtual time: the start of the last turn
	next map[string]float64 // when the next turn of a tenant starts, if that is after now
}

// take records a turn of a tenant.
func (t *turns) take(tenant string) {
	t.now = max(t.now, t.next[tenant])
	t.next[tenant] = t.now + 1/t.deps.weight(tenant)
}

// retain forgets tenants without batches.
func (t *turns) retain(has map[string]bool) {
	for tenant := range t.next {
		if !has[tenant] {
			delete(t.next, tenant)
		}
	}
}

// interleave orders batches by the start of their turns. The order of the batches of each
// tenant remains.
func (t *turns) interleave(ids []string, tenant func(id string) string) {
	starts := make(map[string]float64, len(ids))
	next := make(map[string]float64)
	for _, id := range ids {
		of := tenant(id)
		start, known := next[of]
		if !known {
			start = max(t.now, t.next[of])
		}
		starts[id], next[of] = start, start+1/t.deps.weight(of)
	}
	slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(starts[a], starts[b]) })
}
