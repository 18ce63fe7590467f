package upstreams

import (
	"testing"
	"time"
)

// A limiter beside a server that runs size requests at once, with more lines
// than fit: the queue at the server ends, and the limit stays below its size.
func TestLimitFindsTheServersSize(t *testing.T) {
	for _, c := range []struct {
		name                string
		size, live, ceiling int
		least, most         int
		reason              LimitReason
	}{
		{"small server", 16, 0, 192, 12, 15, LimitWaiting},
		{"one at a time", 1, 0, 192, 1, 1, LimitWaiting},
		{"beside live", 16, 8, 192, 4, 7, LimitWaiting},
		{"middle", 100, 0, 192, 80, 99, LimitWaiting},
		{"configured less", 256, 0, 24, 24, 24, LimitCeiling},
		{"as configured", 256, 0, 192, 192, 192, LimitCeiling},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l limiter
			now := time.Unix(1000, 0)
			batch := 0
			for range 30 {
				now = now.Add(time.Second)
				sent := batch + c.live
				l.observe(limitSample{
					now: now, running: float64(min(sent, c.size)), waiting: float64(max(0, sent-c.size)),
					live: c.live, batch: batch, ceiling: c.ceiling, gateways: 1, wanted: true,
				})
				switch {
				case !l.shut && batch < l.limit:
					batch = l.limit
				case batch > l.limit:
					batch = max(l.limit, batch-c.size) // they end
				}
			}
			if l.limit < c.least || l.limit > c.most || l.reason != c.reason {
				t.Errorf("limit %d, %s; want %d to %d, %s", l.limit, l.reason, c.least, c.most, c.reason)
			}
			if c.size > 1 && batch+c.live > c.size {
				t.Errorf("%d lines and %d live requests on a server that runs %d", batch, c.live, c.size)
			}
		})
	}
}

// Waiting requests stop new lines at once.
func TestLimitShutsWhileRequestsWait(t *testing.T) {
	var l limiter
	s := limitSample{now: time.Unix(1000, 0), running: 16, waiting: 5, batch: 21, ceiling: 192, gateways: 1}
	l.observe(s)
	if !l.shut || l.limit >= 16 {
		t.Errorf("limit %d, shut %t", l.limit, l.shut)
	}
	s.now, s.waiting, s.running, s.batch = s.now.Add(time.Second), 0, 10, 10
	l.observe(s)
	if l.shut || l.limit != 14 {
		t.Errorf("limit %d, shut %t after the queue ended, want 14", l.limit, l.shut)
	}
}
