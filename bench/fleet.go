package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fleet is simulated GPU servers.
type fleet []*process

// startFleet runs n servers with an engine.
func (b *bench) startFleet(ctx context.Context, n int, args ...string) (fleet, error) {
	var f fleet
	for range n {
		sim, err := b.startSim(ctx, append([]string{"--engine", simulatedEngine}, args...)...)
		if err != nil {
			f.stop()
			return nil, err
		}
		f = append(f, sim)
	}
	return f, nil
}

// simulatedEngine is the engine of all fleets.
const simulatedEngine = "h100-8b"

func (f fleet) stop() {
	for _, sim := range f {
		sim.stop()
	}
}

// tokens is how many tokens the servers have generated.
func (f fleet) tokens(ctx context.Context) (total float64, err error) {
	for _, sim := range f {
		n, err := metric(ctx, sim.addr, "vllm:generation_tokens_total")
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// lost is how much time the servers gave up because the machine was too slow for
// them. A measurement in which they did is void.
func (f fleet) lost(ctx context.Context) (time.Duration, error) {
	total := 0.0
	for _, sim := range f {
		var stats struct{ Engine struct{ Lost float64 } }
		if err := call(ctx, http.MethodGet, "http://"+sim.addr+"/sim/stats", "", nil, &stats); err != nil {
			return 0, err
		}
		total += stats.Engine.Lost
	}
	return time.Duration(total * float64(time.Second)), nil
}

// metric reads the first series of a metric of a server.
func metric(ctx context.Context, addr, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+"{"); ok {
			return strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s in its metrics", addr, name)
}
