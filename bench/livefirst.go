package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// liveFirstSides describe the proxy in front of the servers and the source of batch work.
var liveFirstSides = map[string]string{
	"off":     "live through the gateway, no batch",
	"on":      "live and a batch through the gateway, nothing configured",
	"nginx":   "live and a batch client of a fixed number of workers through nginx, least_conn",
	"ungated": "live through nginx, and a flood of batch requests straight to the servers",
}

// sideResult is one side in one round.
type sideResult struct {
	Live           liveTimes `json:"live"`
	TokensPerSec   float64   `json:"batch_tokens_per_second"`
	LostSeconds    float64   `json:"lost_seconds"` // by the servers, because processor time ran out
	ProcessorShare float64   `json:"gateway_cores"`
}

// liveFirstResult is all rounds at one rate of live requests.
type liveFirstResult struct {
	Rate   float64                 `json:"live_per_second_and_server"`
	Rounds []map[string]sideResult `json:"rounds"`
	Sides  map[string]sideSummary  `json:"sides"`
}

// sideSummary has the medians of the rounds of a side, each relative to the other sides of
// its round.
type sideSummary struct {
	Ratio liveTimes `json:"ratio_to_off"`
	Share float64   `json:"share_of_ungated"` // of the batch tokens
	// ITL99Excess is the difference of the 99th percentile to that of off.
	ITL99Excess float64 `json:"itl_p99_excess_ms"`
}

// measureLiveFirst has live requests on a fleet of simulated GPUs: alone, beside a
// batch through the gateway, beside a batch client of fixed size through nginx, and
// beside a flood.
func measureLiveFirst(ctx context.Context, b *bench) (any, error) {
	o := &b.fleet
	rates, err := o.liveRates()
	if err != nil {
		return nil, err
	}
	sides := strings.Split(o.sides, ",")
	for _, side := range sides {
		if _, known := liveFirstSides[side]; !known {
			return nil, fmt.Errorf("-fleet-sides: no side %q", side)
		}
	}
	var results []liveFirstResult
	for _, rate := range rates {
		r := liveFirstResult{Rate: rate}
		for round := range o.rounds {
			measured := make(map[string]sideResult)
			for _, side := range sides {
				s, err := b.liveFirstSide(ctx, side, rate, round)
				if err != nil {
					return nil, fmt.Errorf("%s at %g a second: %w", side, rate, err)
				}
				fmt.Printf("  %g/s, round %d, %-7s %s; batch %.0f tokens/s", rate, round+1, side, s.Live, s.TokensPerSec)
				if s.LostSeconds > 0 {
					fmt.Printf("; VOID: the servers lost %.1f s", s.LostSeconds)
				}
				fmt.Println()
				measured[side] = s
			}
			r.Rounds = append(r.Rounds, measured)
		}
		r.summarize(sides)
		results = append(results, r)
	}
	return results, nil
}

// summarize compares the sides and prints the comparison.
func (r *liveFirstResult) summarize(sides []string) {
	r.Sides = make(map[string]sideSummary)
	for _, side := range sides {
		all := make([]sideSummary, 0, len(r.Rounds))
		for _, round := range r.Rounds {
			s := sideSummary{Ratio: round[side].Live.over(round["off"].Live), ITL99Excess: round[side].Live.ITL99 - round["off"].Live.ITL99}
			if ungated := round["ungated"].TokensPerSec; ungated > 0 {
				s.Share = round[side].TokensPerSec / ungated
			}
			all = append(all, s)
		}
		if !slices.Contains(sides, "off") || side == "off" {
			continue
		}
		of := func(value func(sideSummary) float64) float64 {
			values := make([]float64, len(all))
			for i, s := range all {
				values[i] = value(s)
			}
			return median(values)
		}
		s := sideSummary{
			Ratio: liveTimes{
				Requests: all[0].Ratio.Requests,
				TTFT50:   of(func(s sideSummary) float64 { return s.Ratio.TTFT50 }),
				TTFT99:   of(func(s sideSummary) float64 { return s.Ratio.TTFT99 }),
				ITL50:    of(func(s sideSummary) float64 { return s.Ratio.ITL50 }),
				ITL99:    of(func(s sideSummary) float64 { return s.Ratio.ITL99 }),
			},
			Share:       of(func(s sideSummary) float64 { return s.Share }),
			ITL99Excess: of(func(s sideSummary) float64 { return s.ITL99Excess }),
		}
		r.Sides[side] = s
		fmt.Printf("%g live requests/s and server, %s ÷ off: TTFT p50 %.2f p99 %.2f, ITL p50 %.2f p99 %.2f (%+.0f ms); batch %.2f of ungated (median of %d)\n",
			r.Rate, side, s.Ratio.TTFT50, s.Ratio.TTFT99, s.Ratio.ITL50, s.Ratio.ITL99, s.ITL99Excess, s.Share, len(all))
	}
}

// liveFirstSide measures one side on a fleet of its own, so that no cache and no
// limit is left of another.
func (b *bench) liveFirstSide(ctx context.Context, side string, rate float64, round int) (r sideResult, err error) {
	o := &b.fleet
	servers, err := b.startFleet(ctx, o.servers, o.args()...)
	if err != nil {
		return r, err
	}
	defer servers.stop()
	front, err := b.startFront(ctx, side, servers)
	if err != nil {
		return r, err
	}
	defer front.stop()

	ctx, stop := context.WithCancel(ctx)
	var batch sync.WaitGroup
	var failure error
	defer batch.Wait()
	defer stop()
	if side == "on" {
		if err := fleetWork.submit(ctx, front, o.batchesFor(o.settle+o.length, o.servers), o.lines); err != nil {
			return r, err
		}
	} else if addrs, workers := o.floodOf(side, front, servers); workers > 0 {
		batch.Go(func() {
			_, failure = fleetWork.flood(ctx, addrs, workers)
		})
	}
	r, err = o.measureSide(ctx, front, servers, rate, round)
	stop()
	batch.Wait()
	return r, errors.Join(err, failure)
}

// startFront starts the proxy of a side.
func (b *bench) startFront(ctx context.Context, side string, servers fleet) (*process, error) {
	if side == "off" || side == "on" {
		return b.startGateway(ctx, servers)
	}
	return b.startNginx(ctx, servers...)
}

// floodOf returns the addresses and the number of workers of a side's batch client.
func (o *fleetOptions) floodOf(side string, front *process, servers fleet) (addrs []string, workers int) {
	switch side {
	case "nginx":
		return []string{front.addr}, o.workers
	case "ungated":
		for _, s := range servers {
			addrs = append(addrs, s.addr)
		}
		return addrs, o.flood
	}
	return nil, 0
}

// measureSide sends live requests, and measures after a warm-up.
func (o *fleetOptions) measureSide(ctx context.Context, front *process, servers fleet, rate float64, round int) (r sideResult, err error) {
	measured := window{o.settle, o.settle + o.length}
	total := rate * float64(o.servers) * o.speed
	traffic := o.traffic(front.addr, "live", poisson(fleetSeed(round), 0, measured.to, total))
	var (
		live    []sent
		failure error
		running sync.WaitGroup
	)
	start := time.Now()
	running.Go(func() { live, failure = traffic.run(ctx) })
	defer running.Wait()
	var tokens [2]float64
	var lost [2]time.Duration
	var used [2]time.Duration
	var at [2]time.Time
	for i, moment := range []time.Duration{measured.from, measured.to} {
		if err := pause(ctx, time.Until(start.Add(moment))); err != nil {
			return r, err
		}
		if tokens[i], err = servers.tokens(ctx); err != nil {
			return r, err
		}
		if used[i], err = front.cpu(); err != nil {
			return r, err
		}
		if lost[i], err = servers.lost(ctx); err != nil {
			return r, err
		}
		at[i] = time.Now()
	}
	running.Wait()
	if failure != nil {
		return r, failure
	}
	if r.Live, err = timesOf(live, measured); err != nil {
		return r, err
	}
	took := at[1].Sub(at[0]).Seconds()
	r.LostSeconds = (lost[1] - lost[0]).Seconds()
	r.ProcessorShare = (used[1] - used[0]).Seconds() / took
	r.TokensPerSec = max(0, tokens[1]-tokens[0]-tokensIn(live, measured)) / took
	return r, nil
}
