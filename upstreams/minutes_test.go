package upstreams

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestMinutes: minutes are sums over upstreams, and their quantiles are those of
// all requests together, which no average of quantiles is.
func TestMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Minute - time.Duration(time.Now().UnixNano()%int64(time.Minute))) // to the beginning of a minute
		begun := time.Now()
		a, b := &upstream{}, &upstream{}
		a.telemetry.begun, b.telemetry.begun = begun, begun
		for range 60 {
			a.telemetry.sample(time.Now(), 3, 10, gauges{})
			if time.Since(begun) >= 30*time.Second { // it came later: its average is over what was measured
				b.telemetry.sample(time.Now(), 4, 20, gauges{})
			}
			a.telemetry.ended(Batch)
			a.telemetry.streamed(100*time.Millisecond, 0)
			time.Sleep(time.Second)
		}
		b.telemetry.failed(Failure{Class: Live, Message: "no"})
		for range 40 {
			b.telemetry.streamed(2*time.Second, 0)
		}
		time.Sleep(59 * time.Second)
		pool := []*upstream{a, b}
		all := minutesOf(pool, time.Now())
		last := all[len(all)-1]
		if want := (PoolMinute{At: begun.Add(time.Minute), Live: 7, Batch: 30, Requests: [2]int64{Batch: 60}, TTFT: last.TTFT}); last != want {
			t.Errorf("the last minute that ended is %+v, want %+v", last, want)
		}
		if last.TTFT.N != 60 || !all[len(all)-2].Missed {
			t.Errorf("TTFT of %d streams, want 60; the minute before: %+v, want missed", last.TTFT.N, all[len(all)-2])
		}
		time.Sleep(time.Second)
		all = minutesOf(pool, time.Now())
		last, before := all[len(all)-1], all[len(all)-2]
		if !last.Missed || last.Failures != [2]int64{Live: 1} || last.TTFT.N != 40 || before.Live != 7 {
			t.Errorf("a minute later: %+v after %+v", last, before)
		}
		// Over 58 more minutes the first one becomes the oldest, and is whole.
		time.Sleep(57 * time.Minute)
		all = minutesOf(pool, time.Now())
		if len(all) != int(minutesKept) || all[0].Requests[Batch] != 60 || all[0].Live != 7 || all[0].TTFT.N != 60 || !all[0].At.Equal(begun.Add(time.Minute)) {
			t.Errorf("the oldest of %d is %+v", len(all), all[0])
		}
		time.Sleep(59 * time.Second)
		if all = minutesOf(pool, time.Now()); all[0].Requests[Batch] != 60 || all[0].TTFT.N != 60 {
			t.Errorf("at the end of a minute the oldest is %+v", all[0])
		}
		// The same quantiles as those of all streams together.
		a.telemetry.streamed(100*time.Millisecond, 0)
		for range 9 {
			b.telemetry.streamed(time.Second, 0)
		}
		time.Sleep(time.Minute)
		all = minutesOf(pool, time.Now())
		if got := all[len(all)-1].TTFT; got.N != 10 || got.P50 < time.Second || got.P50 > 1100*time.Millisecond {
			t.Errorf("of 1 quick and 9 slow streams: %+v", got)
		}
		if none := minutesOf(nil, time.Now()); len(none) != int(minutesKept) || !none[0].Missed {
			t.Errorf("without upstreams: %d minutes", len(none))
		}
	})
}
