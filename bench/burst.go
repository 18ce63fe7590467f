package main

import (
	"context"
	"fmt"
	"time"
)

const (
	burstTimes  = 4 // rate of live requests in a burst, relative to that before it
	burstLength = 2 * time.Second
)

// burstRound has the results of bursts without and with a batch.
type burstRound struct {
	Rate  float64   `json:"live_per_second_and_server"`
	Off   liveTimes `json:"off"` // of requests that were due in a burst
	On    liveTimes `json:"on"`
	Ratio liveTimes `json:"ratio"`
	Lost  float64   `json:"lost_seconds"`
}

// measureBurst multiplies the rate of live requests for short times, without and with a
// batch, and compares the latencies of the requests in these times.
func measureBurst(ctx context.Context, b *bench) (any, error) {
	o := &b.fleet
	rates, err := o.liveRates()
	if err != nil {
		return nil, err
	}
	var all []burstRound
	for _, rate := range rates {
		var ratios []float64
		for round := range o.rounds {
			r := burstRound{Rate: rate}
			for _, side := range []struct {
				batch bool
				times *liveTimes
			}{{false, &r.Off}, {true, &r.On}} {
				times, lost, err := b.burstSide(ctx, side.batch, rate, round)
				if err != nil {
					return nil, err
				}
				*side.times = times
				r.Lost += lost.Seconds()
			}
			r.Ratio = r.On.over(r.Off)
			ratios = append(ratios, r.Ratio.TTFT99)
			fmt.Printf("  %g/s, round %d: off %s; on %s; servers lost %.1f s\n", rate, round+1, r.Off, r.On, r.Lost)
			all = append(all, r)
		}
		fmt.Printf("bursts of %d times %g live requests/s and server for %s: TTFT p99 on ÷ off %.2f (median of %d)\n", burstTimes, rate, burstLength, median(ratios), len(ratios))
	}
	return all, nil
}

// burstSide measures one side on a separate fleet.
func (b *bench) burstSide(ctx context.Context, batch bool, rate float64, round int) (times liveTimes, lost time.Duration, err error) {
	o := &b.fleet
	servers, err := b.startFleet(ctx, o.servers, o.args()...)
	if err != nil {
		return times, 0, err
	}
	defer servers.stop()
	gateway, err := b.startGateway(ctx, servers)
	if err != nil {
		return times, 0, err
	}
	defer gateway.stop()
	end := o.settle + time.Duration(o.bursts)*o.period
	if batch {
		if err := fleetWork.submit(ctx, gateway, o.batchesFor(end, o.servers), o.lines); err != nil {
			return times, 0, err
		}
	}
	windows := bursts(o.settle, o.bursts, o.period, burstLength)
	due := withBursts(fleetSeed(round), end, rate*float64(o.servers)*o.speed, burstTimes, windows)
	live, err := o.traffic(gateway.addr, "live", due).run(ctx)
	if err != nil {
		return times, 0, err
	}
	if times, err = timesOf(live, windows...); err != nil {
		return times, 0, err
	}
	lost, err = servers.lost(ctx)
	return times, lost, err
}
