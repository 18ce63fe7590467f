package upstreams

import "sync/atomic"

// throttle is what limits batch lines on all upstreams of a pool beside their own
// limits.
type throttle struct {
	hours   atomic.Pointer[hoursInForce] // nil: none are configured
	changed chan struct{}                // cap 1: there are other hours
}

// setHours puts other hours in force. cfg is valid.
func (t *throttle) setHours(h *hours, in *hoursInForce) {
	if len(h.ranges) == 0 {
		in = nil
	}
	t.hours.Store(in)
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// throttled is how many of a number of slots batch lines may use: none while the
// price of batch is measured or outside of the hours, else what the hours and the
// budget leave, at least one.
func (c *Candidate) throttled(slots int) int {
	if slots <= 0 {
		return slots
	}
	if c.withheld.Load() {
		return 0
	}
	part := 1.0
	if c.purpose() != ForBatch { // lines elsewhere cost live requests nothing
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

// factor is a part above 0 and up to 1 that is read without a lock. Its zero value
// is 1.
type factor struct{ missing atomic.Int64 } // in millionths

const factorUnit = 1e6

func (f *factor) part() float64 { return 1 - float64(f.missing.Load())/factorUnit }

func (f *factor) set(part float64) { f.missing.Store(int64((1 - part) * factorUnit)) }
