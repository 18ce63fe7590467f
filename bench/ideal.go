package main

import (
	"slices"
	"time"
)

// speeds are the speeds of the slots of all servers: 1 for one that takes as long
// for a line as the line's work says.
type speeds []float64

// takes returns the time that a slot needs for a line.
func (s speeds) takes(slot int, work time.Duration) time.Duration {
	return time.Duration(float64(work) / s[slot])
}

// bound is a makespan that no schedule is below: all slots work until the end,
// and the longest line runs on the fastest slot.
func (s speeds) bound(work []time.Duration) time.Duration {
	var all, longest time.Duration
	for _, w := range work {
		all += w
		longest = max(longest, w)
	}
	capacity := 0.0
	for _, v := range s {
		capacity += v
	}
	return max(time.Duration(float64(all)/capacity), time.Duration(float64(longest)/slices.Max(s)))
}

// ideal is the makespan of a list schedule that knows all lengths and speeds: the
// longest line first, each on the slot that ends it first.
func (s speeds) ideal(work []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(work))
	slices.Reverse(sorted)
	return s.schedule(sorted, func(free []time.Duration, w time.Duration, slot int) time.Duration {
		return free[slot] + s.takes(slot, w)
	})
}

// inFileOrder is the makespan of a list schedule without information about lengths: each line, in
// the order of the file, on the slot that is free first.
func (s speeds) inFileOrder(work []time.Duration) time.Duration {
	return s.schedule(work, func(free []time.Duration, _ time.Duration, slot int) time.Duration { return free[slot] })
}

// schedule puts each line on the slot with the least cost and returns the makespan.
func (s speeds) schedule(work []time.Duration, cost func(free []time.Duration, w time.Duration, slot int) time.Duration) (makespan time.Duration) {
	free := make([]time.Duration, len(s))
	for _, w := range work {
		best := 0
		for slot := range s {
			if cost(free, w, slot) < cost(free, w, best) {
				best = slot
			}
		}
		free[best] += s.takes(best, w)
		makespan = max(makespan, free[best])
	}
	return makespan
}
