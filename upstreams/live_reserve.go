package upstreams

import (
	"math"
	"sync/atomic"
	"time"
)

// reserveHalfLife is the time in which the reserve for live requests is halved when
// fewer arrive.
const reserveHalfLife = time.Minute

// liveReserve keeps slots free for live requests on a server that runs no more
// requests concurrently than its limit: an arriving live request would wait there
// until a line ends. It reserves as many slots as live requests used concurrently of
// late, but at least one.
type liveReserve struct {
	peak   atomic.Int64 // maximum number of concurrent live requests since the last sample
	target atomic.Int64 // slots for live requests; 0: no reserve

	at   time.Time // of the last sample; used by the prober alone
	most float64   // the decaying peak; used by the prober alone
}

// noteLive records the number of live requests in flight.
func (s *liveReserve) noteLive(live int) {
	if n := int64(live); n > s.peak.Load() {
		s.peak.Store(n) // a concurrent call may be lost; the next request makes up for it
	}
}

// sample updates the reserve. live is the number of live requests now, hard reports
// whether the server is known to run no more requests concurrently than its limit.
func (s *liveReserve) sample(now time.Time, live int, hard bool) {
	peak := max(s.peak.Swap(int64(live)), int64(live))
	s.most *= math.Exp2(-now.Sub(s.at).Seconds() / reserveHalfLife.Seconds())
	s.most, s.at = max(s.most, float64(peak)), now
	if !hard {
		s.target.Store(0)
		return
	}
	s.target.Store(max(1, int64(math.Round(s.most))))
}

// reserved returns how many of all slots batch lines must leave, with live requests
// in flight. The reserve beyond these is at most half of all slots.
func (s *liveReserve) reserved(live, all int) int { return max(live, min(int(s.target.Load()), all/2)) }
