package upstreams

import "sync/atomic"

// throttle limits batch lines on all upstreams of a pool, in addition to the limits
// of each upstream.
type throttle struct {
	hours   atomic.Pointer[activeHours] // nil: no hours are configured
	changed chan struct{}               // cap 1: the hours have changed
}

// setHours replaces the hours. The configuration is valid.
func (t *throttle) setHours(h *hours, in *activeHours) {
	if len(h.ranges) == 0 {
		in = nil
	}
	t.hours.Store(in)
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// throttled returns how many of the slots batch lines may use: none while batch is
// withheld or outside of the hours, or else what the hours and the budget allow, at
// least one.
func (c *Candidate) throttled(slots int) int {
	if slots <= 0 {
		return slots
	}
	if c.withheld.Load() {
		return 0
	}
	part := 1.0
	if c.placement() != ForBatch { // lines there do not slow live requests down
		part = c.budget.part()
	}
	if c.throttle != nil {
		if in := c.throttle.hours.Load(); in != nil {
			if in.Share == 0 {
				return 0
			}
			part *= in.Share
		}
	}
	return max(1, int(part*float64(slots)+1e-9))
}

// factor is a factor above 0 and up to 1 that is read without a lock. Its zero value
// is 1.
type factor struct{ missing atomic.Int64 } // in millionths

const factorUnit = 1e6

func (f *factor) part() float64 { return 1 - float64(f.missing.Load())/factorUnit }

func (f *factor) set(part float64) { f.missing.Store(int64((1 - part) * factorUnit)) }
