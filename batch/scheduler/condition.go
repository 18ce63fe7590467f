package scheduler

import "time"

// condition records since when something holds without a break. The zero value does not
// hold.
type condition struct{ since time.Time }

// set records whether the condition holds now, and reports whether it began with this.
func (c *condition) set(holds bool, now time.Time) (began bool) {
	switch {
	case !holds:
		c.since = time.Time{}
	case c.since.IsZero():
		c.since = now
		return true
	}
	return false
}

// holds reports whether the condition held when it was last set.
func (c condition) holds() bool { return !c.since.IsZero() }

// lasted reports whether the condition has held for d or longer.
func (c condition) lasted(d time.Duration, now time.Time) bool {
	return c.holds() && now.Sub(c.since) >= d
}
