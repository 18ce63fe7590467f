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

// tokens returns the number of tokens that the servers have generated.
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

// lost returns the time that the servers dropped because the machine was too slow. A
// measurement with lost time is invalid.
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
	all, err := metrics(ctx, addr)
	if err != nil {
		return 0, err
	}
	return all.of(name)
}

// serverMetrics are the metrics of a server at one moment.
type serverMetrics struct {
	addr   string
	values map[string]float64 // of the first series of each metric
}

// metrics reads all metrics of a server.
func metrics(ctx context.Context, addr string) (m serverMetrics, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return m, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return m, fmt.Errorf("reading metrics: %w", err)
	}
	defer answer.Body.Close()
	m = serverMetrics{addr, make(map[string]float64)}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		line := lines.Text()
		name, _, labelled := strings.Cut(line, "{")
		if _, seen := m.values[name]; seen || !labelled || strings.HasPrefix(line, "#") {
			continue
		}
		if m.values[name], err = strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64); err != nil {
			return m, fmt.Errorf("reading metrics of %s: %w", addr, err)
		}
	}
	return m, lines.Err()
}

// of returns the value of a metric.
func (m serverMetrics) of(name string) (float64, error) {
	v, ok := m.values[name]
	if !ok {
		return 0, fmt.Errorf("%s has no %s in its metrics", m.addr, name)
	}
	return v, nil
}
