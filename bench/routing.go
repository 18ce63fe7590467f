package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// routingOptions are the options of the scenario routing.
type routingOptions struct {
	trace     string
	requests  int
	factor    float64
	bound     time.Duration
	precision float64
	servers   int
	kv        int
	sides     string
}

func (o *routingOptions) register() {
	flag.StringVar(&o.trace, "routing-trace", "", "routing: file of the trace, .jsonl or .csv, may be gzipped")
	flag.IntVar(&o.requests, "routing-requests", 2000, "routing: requests, from the beginning of the trace")
	flag.Float64Var(&o.factor, "routing-factor", 1, "routing: rate ÷ that of the trace; with -routing-bound the first one that is tried")
	flag.DurationVar(&o.bound, "routing-bound", 0, "routing: search the highest rate at which the 99th percentile of TTFT is at most this; 0: measure one rate")
	flag.Float64Var(&o.precision, "routing-precision", 0.05, "routing: the search ends when the rates around the result differ by less than this part")
	flag.IntVar(&o.servers, "routing-servers", 8, "routing: simulated servers")
	flag.IntVar(&o.kv, "routing-kv", 400_000, "routing: tokens of the KV cache of a server")
	flag.StringVar(&o.sides, "routing-sides", "gateway,nginx", "routing: what stands before the servers, in order")
}

// routingRun is one replay of the trace. Times and rates are those of the servers'
// clock, independent of their speed.
type routingRun struct {
	Factor         float64 `json:"factor"` // rate ÷ that of the trace
	RequestsPerSec float64 `json:"requests_per_second"`
	Over           bool    `json:"over_bound"` // the replay ended early, so that there are no quantiles
	TTFT50         float64 `json:"ttft_p50_seconds"`
	TTFT90         float64 `json:"ttft_p90_seconds"`
	TTFT99         float64 `json:"ttft_p99_seconds"`
	HitRate        float64 `json:"hit_rate"`         // of the servers' prefix caches
	Late99         float64 `json:"late_p99_seconds"` // from when a request was due until the client sent it
	LostSeconds    float64 `json:"lost_seconds"`
}

func (r routingRun) String() string {
	text := fmt.Sprintf("%.2f requests/s (factor %.2f): ", r.RequestsPerSec, r.Factor)
	if r.Over {
		text += "TTFT p99 over the bound"
	} else {
		text += fmt.Sprintf("TTFT p50 %.3f p90 %.3f p99 %.3f s, hit rate %.3f, sent late p99 %.3f s", r.TTFT50, r.TTFT90, r.TTFT99, r.HitRate, r.Late99)
	}
	if r.LostSeconds > 0 {
		text += fmt.Sprintf("; VOID: the servers lost %.1f s", r.LostSeconds)
	}
	return text
}

// routingSide is the result of one side.
type routingSide struct {
	Runs []routingRun `json:"runs"`
	Best routingRun   `json:"best"` // the highest rate within the bound, or the only run
}

// measureRouting replays a trace through the gateway and through nginx's least_conn.
func measureRouting(ctx context.Context, b *bench) (any, error) {
	o := &b.routing
	if o.trace == "" {
		return nil, errors.New("-routing-trace: name the file of a trace")
	}
	if !(o.factor > 0 && o.precision > 0) || o.requests < 1 {
		return nil, errors.New("-routing-factor, -routing-precision and -routing-requests must be positive")
	}
	trace, err := readTrace(o.trace, o.requests)
	if err != nil {
		return nil, err
	}
	var unique uniquePrompts
	for i, r := range trace {
		unique.add(r.body(traceName(i)))
	}
	reusable := 1 - float64(unique.Computed)/float64(unique.Tokens)
	fmt.Printf("  %d requests in %.0f s of the trace, %d prompt tokens; a cache that forgets nothing has a hit rate of %.3f\n",
		len(trace), trace[len(trace)-1].at.Seconds(), unique.Tokens, reusable)
	sides := make(map[string]*routingSide)
	for side := range strings.SplitSeq(o.sides, ",") {
		if side != "gateway" && side != "nginx" {
			return nil, fmt.Errorf("-routing-sides: no side %q", side)
		}
		s := &routingSide{}
		sides[side] = s
		measure := func(factor float64) (bool, error) {
			run, err := b.tryReplay(ctx, side, trace, factor, s)
			if err != nil {
				return false, fmt.Errorf("%s, factor %.2f: %w", side, factor, err)
			}
			within := !run.Over && (o.bound == 0 || run.TTFT99 <= o.bound.Seconds())
			if within {
				s.Best = run
			}
			return within, nil
		}
		if o.bound == 0 {
			_, err = measure(o.factor)
		} else {
			_, err = highest(o.factor, o.precision, measure)
		}
		if err != nil {
			return nil, err
		}
	}
	result := map[string]any{
		"trace": o.trace[strings.LastIndexByte(o.trace, '/')+1:], "requests": o.requests, "servers": o.servers, "kv_tokens": o.kv,
		"speed": b.fleet.speed, "bound_seconds": o.bound.Seconds(), "reusable": reusable, "sides": sides,
	}
	if g, n := sides["gateway"], sides["nginx"]; g != nil && n != nil && o.bound > 0 {
		ratio := g.Best.RequestsPerSec / n.Best.RequestsPerSec
		result["ratio"] = ratio
		fmt.Printf("requests/s at TTFT p99 ≤ %s: gateway %.2f, nginx least_conn %.2f, ratio %.2f\n", o.bound, g.Best.RequestsPerSec, n.Best.RequestsPerSec, ratio)
	}
	return result, nil
}

const (
	replayTries = 3
	mayLose     = 1.0 // seconds, all servers together
)

// tryReplay replays the trace and adds the run to those of a side. During a search a
// replay in which the servers lost time is repeated, as the search would follow it.
func (b *bench) tryReplay(ctx context.Context, side string, trace []traceRequest, factor float64, s *routingSide) (run routingRun, err error) {
	for range replayTries {
		if run, err = b.replay(ctx, side, trace, factor); err != nil {
			return run, err
		}
		fmt.Printf("    %-7s %s\n", side, run)
		s.Runs = append(s.Runs, run)
		if run.LostSeconds <= mayLose || b.routing.bound == 0 {
			return run, nil
		}
	}
	return run, fmt.Errorf("the servers lost %.1f s in the last of %d replays: the machine is too slow for -fleet-speed %g", run.LostSeconds, replayTries, b.fleet.speed)
}

func traceName(i int) string { return fmt.Sprintf("trace-%06d", i) }

// errOver ends a replay in which the 99th percentile is over the bound already.
var errOver = errors.New("more than one request of 100 is over the bound")

// replay sends the trace to servers of its own.
func (b *bench) replay(ctx context.Context, side string, trace []traceRequest, factor float64) (run routingRun, err error) {
	o := &b.routing
	speed := b.fleet.speed
	servers, err := b.startFleet(ctx, o.servers, append(b.fleet.args(), "--kv-tokens", strconv.Itoa(o.kv))...)
	if err != nil {
		return run, err
	}
	defer servers.stop()
	var front *process
	if side == "nginx" {
		front, err = b.startNginx(ctx, servers...)
	} else {
		front, err = b.startGateway(ctx, servers)
	}
	if err != nil {
		return run, err
	}
	defer front.stop()

	due := make(arrivals, len(trace))
	for i, r := range trace {
		due[i] = time.Duration(float64(r.at) / factor / speed)
	}
	run.Factor = factor
	run.RequestsPerSec = float64(len(trace)) / trace[len(trace)-1].at.Seconds() * factor
	replaying, quit := context.WithCancelCause(ctx)
	defer quit(nil)
	var slow atomic.Int64
	traffic := liveTraffic{addr: front.addr, due: due, request: func(i int) liveRequest {
		return liveRequest{trace[i].body(traceName(i)), trace[i].generate}
	}}
	if o.bound > 0 {
		traffic.first = func(ttft time.Duration) {
			if ttft.Seconds()*speed > o.bound.Seconds() && int(slow.Add(1)) > mayBeOver(len(trace)) {
				quit(errOver)
			}
		}
	}
	seen, err := traffic.run(replaying)
	run.Over = errors.Is(context.Cause(replaying), errOver)
	if err != nil && !run.Over {
		return run, err
	}
	lost, err := servers.lost(ctx)
	if err != nil {
		return run, err
	}
	run.LostSeconds = lost.Seconds()
	if run.Over {
		return run, nil
	}
	run.times(seen, speed)
	counts, err := servers.counts(ctx, len(trace))
	if err != nil {
		return run, err
	}
	run.HitRate = counts.Hits / counts.Queries
	return run, nil
}

// mayBeOver returns the number of n requests that may be over the 99th percentile, as
// quantile computes it.
func mayBeOver(n int) int { return n - 1 - min(int(0.99*float64(n)), n-1) }

// times computes the quantiles, in seconds of the servers' clock.
func (r *routingRun) times(all []sent, speed float64) {
	ttft, late := make([]float64, len(all)), make([]float64, len(all))
	for i, s := range all {
		ttft[i], late[i] = s.ttft.Seconds()*speed, s.late.Seconds()*speed
	}
	r.TTFT50, r.TTFT90, r.TTFT99 = quantile(ttft, 0.5), quantile(ttft, 0.9), quantile(ttft, 0.99)
	r.Late99 = quantile(late, 0.99)
}

const (
	searchStep   = 1.5       // until a rate within and one over the bound are known
	lowestFactor = 1.0 / 256 // the search gives up below it
	mostFactor   = 4096.0
)

// highest searches the highest factor for which within is true: it steps up or down
// until there is one on each side, and then halves the distance.
func highest(start, precision float64, within func(factor float64) (bool, error)) (float64, error) {
	low, high := 0.0, math.Inf(1)
	for factor := start; high > low*(1+precision); {
		if factor < lowestFactor || factor > mostFactor {
			return 0, fmt.Errorf("the bound is not between the factors %g and %g", lowestFactor, mostFactor)
		}
		ok, err := within(factor)
		if err != nil {
			return 0, err
		}
		if ok {
			low = factor
		} else {
			high = factor
		}
		switch {
		case math.IsInf(high, 1):
			factor *= searchStep
		case low == 0:
			factor /= searchStep
		default:
			factor = math.Sqrt(low * high)
		}
	}
	return low, nil
}
