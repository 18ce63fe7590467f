package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

const (
	sharedLines  = 50_000
	sharedRounds = 3
	sharedWarmup = 2_000 // lines before the clock runs, so that connections are open

	// Collections are frequent, and two of them pass before processor time is
	// read: the removal of a batch's rows is part of its price.
	sharedCollect = 2 * time.Second
)

// stack is one of the installations that are compared.
type stack struct {
	name     string
	gateways int
	config   configured
	Rounds   []stackRound
}

// stackRound is one batch on a stack.
type stackRound struct {
	Seconds float64            `json:"seconds"` // from its creation to its output file
	Rate    float64            `json:"lines_per_second"`
	CPU     map[string]float64 `json:"cpu_us_per_line"` // microseconds of processor time of each server
}

// ours is the processor time per line of all servers but the simulated one.
func (r stackRound) ours() float64 {
	sum := 0.0
	for name, cpu := range r.CPU {
		if name != simulated {
			sum += cpu
		}
	}
	return sum
}

// simulated is the name of the simulated server in results.
const simulated = "simulated server"

// measureShared compares a gateway on embedded defaults with one, and with
// three, on PostgreSQL and Redis: lines per second from the creation of a batch
// to its output file, and processor time per line.
func measureShared(ctx context.Context, b *bench) (any, error) {
	shared, err := startBackends(ctx)
	if err != nil {
		return nil, err
	}
	defer shared.stop()
	sim, err := b.startSim(ctx, "--max-num-seqs", "512")
	if err != nil {
		return nil, err
	}
	defer sim.stop()

	stacks := []*stack{{name: "embedded", gateways: 1}, {name: "shared", gateways: 1}, {name: "three", gateways: 3}}
	for _, s := range stacks {
		s.config = configured{upstreams: []*process{sim}, batch: "collect_interval " + sharedCollect.String()}
		if s.config.data, err = os.MkdirTemp(b.dir, "data-"); err != nil {
			return nil, fmt.Errorf("making data directory: %w", err)
		}
		if s.name != "embedded" {
			if s.config.app, err = shared.drivers(ctx, s.name); err != nil {
				return nil, err
			}
		}
	}
	for range sharedRounds {
		for _, s := range stacks {
			if err := b.stackRound(ctx, s, sim, shared); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return reportShared(stacks, shared), nil
}

// stackRound runs a stack's gateways for one batch, without other idle gateways.
func (b *bench) stackRound(ctx context.Context, s *stack, sim *process, shared *backends) error {
	gateways, err := b.startSeveral(ctx, s.config, s.gateways)
	if err != nil {
		return err
	}
	defer stopAll(gateways)
	entrance := gateways[0].addr
	if _, err := runBatch(ctx, entrance, sharedWarmup, 40); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	fileID, err := uploadInput(ctx, entrance, sharedLines, 40)
	if err != nil {
		return err
	}
	if err := pause(ctx, 2*sharedCollect); err != nil { // let the cleaner remove the data of the warm-up
		return err
	}
	servers := map[string]int{simulated: sim.cmd.Process.Pid, "postgres": shared.db.pid, "redis": shared.redis.pid}
	for i, g := range gateways {
		servers[fmt.Sprintf("gateway %d", i+1)] = g.cmd.Process.Pid
	}
	before, err := cpuOfAll(servers)
	if err != nil {
		return err
	}
	begin := time.Now()
	created, err := createBatch(ctx, entrance, fileID)
	if err != nil {
		return err
	}
	ended, err := waitBatch(ctx, entrance, created.ID, nil)
	if err != nil {
		return err
	}
	wall := time.Since(begin).Seconds()
	if err := pause(ctx, 2*sharedCollect); err != nil {
		return err
	}
	after, err := cpuOfAll(servers)
	if err != nil {
		return err
	}
	round := stackRound{Seconds: wall, Rate: sharedLines / wall, CPU: make(map[string]float64)}
	for name := range servers {
		round.CPU[name] = float64((after[name] - before[name]).Microseconds()) / sharedLines
	}
	s.Rounds = append(s.Rounds, round)
	return checkOutput(ctx, entrance, ended)
}

// cpuOfAll is the processor time of servers by their name.
func cpuOfAll(servers map[string]int) (map[string]time.Duration, error) {
	used := make(map[string]time.Duration, len(servers))
	for name, pid := range servers {
		cpu, err := cpuOf(pid)
		if err != nil {
			return nil, fmt.Errorf("reading processor time of %s: %w", name, err)
		}
		used[name] = cpu
	}
	return used, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// reportShared compares rounds with the embedded stack's of the same turn.
func reportShared(stacks []*stack, shared *backends) map[string]any {
	report := map[string]any{"postgres": shared.db.Settings}
	for _, s := range stacks {
		var rates, ratios, cpu []float64
		for i, r := range s.Rounds {
			rates = append(rates, r.Rate)
			ratios = append(ratios, r.Rate/stacks[0].Rounds[i].Rate)
			cpu = append(cpu, r.ours())
		}
		fmt.Printf("%s: %.0f lines/s, %.2f of embedded, %.0f µs of processor time per line (median of %d)\n", s.name, median(rates), median(ratios), median(cpu), len(rates))
		report[s.name] = map[string]any{"rounds": s.Rounds, "lines_per_second": median(rates), "ratio": median(ratios), "cpu_us_per_line": median(cpu)}
	}
	return report
}
