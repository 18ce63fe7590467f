package upstreams

import "time"

// PoolMinute summarizes all upstreams in one minute.
type PoolMinute struct {
	At time.Time // end of the minute
	// Missed is true if nothing was measured: the gateway was not running, or had no
	// upstream.
	Missed bool
	// Live and Batch are the average numbers of requests in flight through this
	// gateway while it was measured.
	Live, Batch        float64
	Requests, Failures [2]int64 // attempts that ended, by Class
	TTFT               Latency  // of live requests
}

// Minutes returns the last hour of all upstreams, the oldest minute first, without
// the current minute.
func (p *Pool) Minutes() []PoolMinute {
	return minutesOf(p.now.Load().upstreams, time.Now())
}

const (
	stepsPerMinute = int64(time.Minute / telemetryStep)
	// minutesKept is a minute less than an hour: the oldest steps are being
	// overwritten.
	minutesKept = telemetrySteps/stepsPerMinute - 1
)

func minutesOf(upstreams []*upstream, now time.Time) []PoolMinute {
	last := now.UnixNano()/int64(time.Minute) - 1
	minutes := make([]PoolMinute, minutesKept)
	histograms := make([]histogram, minutesKept)
	for i := range minutes {
		number := last - minutesKept + 1 + int64(i)
		minutes[i] = PoolMinute{At: time.Unix(0, (number+1)*int64(time.Minute)), Missed: true}
	}
	for _, u := range upstreams {
		u.telemetry.addMinutes(minutes, histograms, (last-minutesKept+1)*stepsPerMinute)
	}
	for i := range minutes {
		minutes[i].TTFT = histograms[i].latency()
	}
	return minutes
}

// addMinutes adds the steps from number first on.
func (t *telemetry) addMinutes(minutes []PoolMinute, ttft []histogram, first int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range minutes {
		m := &minutes[i]
		var samples, live, batch int64
		for number := first + int64(i)*stepsPerMinute; number < first+int64(i+1)*stepsPerMinute; number++ {
			s := &t.steps[number%telemetrySteps]
			if s.number != number {
				continue
			}
			samples += s.samples
			live += s.live
			batch += s.batch
			for class := range s.requests {
				m.Requests[class] += s.requests[class]
				m.Failures[class] += s.failures[class]
			}
			ttft[i].merge(&s.ttft)
		}
		if samples > 0 {
			m.Missed = false
			m.Live += float64(live) / float64(samples)
			m.Batch += float64(batch) / float64(samples)
		}
	}
}
