package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// fleetOptions are the options of the scenarios on simulated GPUs. Flags make them
// shorter.
type fleetOptions struct {
	servers int
	speed   float64
	rates   string        // live requests a second and server, separated by commas
	sides   string        // of livefirst
	rounds  int           // of livefirst and burst
	length  time.Duration // duration of the measurement
	settle  time.Duration // from the creation of the batch until it is measured
	lines   int           // of a batch
	workers int           // of the client behind nginx
	flood   int           // of the ungated client
	bursts  int           // in a round
	period  time.Duration // from burst to burst
	seqs    string        // --max-num-seqs of the server of knee, phase by phase
	phase   time.Duration // of knee
}

func (o *fleetOptions) register() {
	flag.IntVar(&o.servers, "fleet-servers", 4, "livefirst, burst: simulated servers")
	flag.Float64Var(&o.speed, "fleet-speed", 1, "all scenarios on simulated GPUs: --speed of the servers; the rates of live requests are multiplied by it")
	flag.StringVar(&o.rates, "fleet-rates", "1,3", "livefirst, burst: live requests a second and server")
	flag.StringVar(&o.sides, "fleet-sides", "off,on,nginx,ungated", "livefirst: what is measured, in order")
	flag.IntVar(&o.rounds, "fleet-rounds", 3, "livefirst, burst: rounds, each of all sides")
	flag.DurationVar(&o.length, "fleet-length", 2*time.Minute, "livefirst: length of what is measured of each side")
	flag.DurationVar(&o.settle, "fleet-settle", 30*time.Second, "livefirst, burst: from the creation of the batch until it is measured")
	flag.IntVar(&o.lines, "fleet-lines", 20_000, "livefirst, burst, knee: lines of a batch; as many batches are made as the servers can do meanwhile")
	flag.IntVar(&o.workers, "fleet-workers", 128, "livefirst: workers of the batch client before nginx")
	flag.IntVar(&o.flood, "fleet-flood", 1024, "livefirst: workers of the ungated batch client; 256 a server fill all places")
	flag.IntVar(&o.bursts, "fleet-bursts", 10, "burst: bursts of a round")
	flag.DurationVar(&o.period, "fleet-period", 10*time.Second, "burst: from one burst to the next")
	flag.StringVar(&o.seqs, "knee-seqs", "64,128,64,256", "knee: --max-num-seqs of the server, phase by phase")
	flag.DurationVar(&o.phase, "knee-phase", 45*time.Second, "knee: length of a phase")
}

// The requests of all scenarios on simulated GPUs, in tokens.
const (
	fleetLivePrompt, fleetLiveTokens = 300, 100
	fleetLinePrompt, fleetLineTokens = 200, 200
)

// linesPerSecond is more than a server of the simulated engine does of such lines.
const linesPerSecond = 60

var fleetWork = batchWork{prompt: fleetLinePrompt, generate: fleetLineTokens}

// batchesFor returns the number of batches that keep the servers busy for d.
func (o *fleetOptions) batchesFor(d time.Duration, servers int) int {
	return 1 + int(d.Seconds()*linesPerSecond*float64(servers)*o.speed)/o.lines
}

// args are the flags of the servers.
func (o *fleetOptions) args() []string {
	return []string{"--speed", strconv.FormatFloat(o.speed, 'g', -1, 64)}
}

// liveRates are the rates per server.
func (o *fleetOptions) liveRates() ([]float64, error) {
	var all []float64
	for field := range strings.SplitSeq(o.rates, ",") {
		rate, err := strconv.ParseFloat(field, 64)
		if err != nil || !(rate > 0) {
			return nil, fmt.Errorf("-fleet-rates: %q is no positive number", field)
		}
		all = append(all, rate)
	}
	return all, nil
}

// traffic is live traffic to an address at moments that were drawn. No two traffics
// to the same servers share a name.
func (o *fleetOptions) traffic(addr, name string, due arrivals) liveTraffic {
	return liveTraffic{addr: addr, due: due, request: func(i int) liveRequest {
		return liveRequest{prose(fmt.Sprintf("%s-%06d", name, i), fleetLivePrompt, fleetLiveTokens, true), fleetLiveTokens}
	}}
}

// fleetSeed makes the arrivals of a round the same on all sides.
func fleetSeed(round int) uint64 { return uint64(1000 + round) }
