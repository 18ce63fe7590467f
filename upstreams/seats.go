package upstreams

import (
	"math"
	"sync/atomic"
	"time"
)

// seatsMemory is the time in which the seats that are kept for live requests become
// half as many, when fewer came.
const seatsMemory = time.Minute

// seats keeps places free for live requests on a server that runs no more requests
// at once than its limit: one that arrives would wait there until a line ends.
// As many are kept as live requests took at once lately, and one at least.
type seats struct {
	peak atomic.Int64 // the most live requests at once since the last sample
	free atomic.Int64 // how many seats live requests are to have; 0: none are kept

	at   time.Time // of the last sample; used by the prober alone
	most float64   // the peak of late; used by the prober alone
}

// taken notes how many live requests are in flight.
func (s *seats) taken(live int) {
	if n := int64(live); n > s.peak.Load() {
		s.peak.Store(n) // two at once may lose one, which the next request makes up for
	}
}

// sample takes in how many live requests there are now. hard reports whether the
// server is known to run no more requests at once than its limit.
func (s *seats) sample(now time.Time, live int, hard bool) {
	peak := max(s.peak.Swap(int64(live)), int64(live))
	s.most *= math.Exp2(-now.Sub(s.at).Seconds() / seatsMemory.Seconds())
	s.most, s.at = max(s.most, float64(peak)), now
	if !hard {
		s.free.Store(0)
		return
	}
	s.free.Store(max(1, int64(math.Round(s.most))))
}

// kept is how many of all seats are not for batch lines while so many live requests
// are in flight. What is kept beyond these is half of all seats at most.
func (s *seats) kept(live, all int) int { return max(live, min(int(s.free.Load()), all/2)) }
