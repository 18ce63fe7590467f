package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// chat is the live request of all scenarios.
var chat = []byte(`{"model":"` + model + `","max_tokens":16,"messages":[{"role":"user","content":"What does the tide do at the gate?"}]}`)

// rounds is the number of repetitions of a comparison, alternating between the two sides;
// the median counts.
const rounds = 5

func median[T float64 | time.Duration](values []T) T { return quantile(values, 0.5) }

// quantile is the value that a part q of all do not exceed; 1 is the largest.
func quantile[T float64 | time.Duration](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// liveSide is one gateway's part in measureLive.
type liveSide struct {
	Load loadResult    `json:"load"`
	CPU  time.Duration `json:"cpu_ns"` // of the gateway, all of its processes
}

func (s liveSide) perRequest() time.Duration { return s.CPU / time.Duration(s.Load.Requests) }

// measureLive compares the processor time per live request with that of nginx, with the
// same simulated server behind both, and with direct requests as the lower bound.
func measureLive(ctx context.Context, b *bench) (any, error) {
	sim, err := b.startSim(ctx)
	if err != nil {
		return nil, err
	}
	defer sim.stop()
	gateway, err := b.startGateway(ctx, []*process{sim})
	if err != nil {
		return nil, err
	}
	defer gateway.stop()
	nginx, err := b.startNginx(ctx, sim)
	if err != nil {
		return nil, err
	}
	defer nginx.stop()

	var tidegate, other []liveSide
	for range rounds {
		for _, side := range []struct {
			p   *process
			out *[]liveSide
		}{{nginx, &other}, {gateway, &tidegate}} {
			before, err := side.p.cpu()
			if err != nil {
				return nil, err
			}
			result, err := load{addr: side.p.addr, path: "/v1/chat/completions", body: chat, connections: 32, requests: 40_000}.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("loading %s: %w", side.p.name, err)
			}
			after, err := side.p.cpu()
			if err != nil {
				return nil, err
			}
			if result.Errors > 0 {
				return nil, fmt.Errorf("%s answered %d requests with errors", side.p.name, result.Errors)
			}
			*side.out = append(*side.out, liveSide{result, after - before})
		}
	}
	var ratios, ours, theirs []float64
	for i := range tidegate {
		ours = append(ours, tidegate[i].perRequest().Seconds()*1e6)
		theirs = append(theirs, other[i].perRequest().Seconds()*1e6)
		ratios = append(ratios, ours[i]/theirs[i])
	}
	fmt.Printf("processor time per live request: tidegate %.1f µs, nginx %.1f µs, ratio %.2f (median of %d)\n", median(ours), median(theirs), median(ratios), rounds)
	return map[string]any{"tidegate": tidegate, "nginx": other, "cpu_ratio": median(ratios)}, nil
}

// measureBatchRate compares lines per second of a batch, from its creation to
// its output file, with live requests per second through the same gateway.
func measureBatchRate(ctx context.Context, b *bench) (any, error) {
	const lines = 50_000
	sim, err := b.startSim(ctx, "--max-num-seqs", "512")
	if err != nil {
		return nil, err
	}
	defer sim.stop()
	gateway, err := b.startGateway(ctx, []*process{sim})
	if err != nil {
		return nil, err
	}
	defer gateway.stop()

	type round struct {
		Live      loadResult `json:"live"`
		BatchWall float64    `json:"batch_seconds"`
		Ratio     float64    `json:"ratio"`
	}
	var raw []round
	var ratios, liveRates, batchRates []float64
	for range 3 {
		live, err := load{addr: gateway.addr, path: "/v1/chat/completions", body: chat, connections: 64, requests: lines}.run(ctx)
		if err != nil {
			return nil, err
		}
		fileID, err := uploadInput(ctx, gateway.addr, lines, 40)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		created, err := createBatch(ctx, gateway.addr, fileID)
		if err != nil {
			return nil, err
		}
		if _, err := waitBatch(ctx, gateway.addr, created.ID, nil); err != nil {
			return nil, err
		}
		wall := time.Since(begin).Seconds()
		ratio := lines / wall / live.Rate()
		raw = append(raw, round{live, wall, ratio})
		ratios, liveRates, batchRates = append(ratios, ratio), append(liveRates, live.Rate()), append(batchRates, lines/wall)
	}
	fmt.Printf("lines of a batch per second %.0f, live requests per second %.0f, ratio %.2f (median of %d)\n", median(batchRates), median(liveRates), median(ratios), len(raw))
	return map[string]any{"rounds": raw, "ratio": median(ratios)}, nil
}

// seconds are times of several rounds.
type seconds []float64

// beside prints and returns them relative to another duration.
func (s seconds) beside(name, what string, other time.Duration) map[string]any {
	ratio := median(s) / other.Seconds()
	fmt.Printf("%s %.2f s, %s %.2f s, ratio %.3f (median of %d)\n", name, median(s), what, other.Seconds(), ratio, len(s))
	return map[string]any{"seconds": s, what + "_seconds": other.Seconds(), "ratio": ratio}
}

// slotFleet is servers that take a fixed time for a line.
type slotFleet struct {
	slots   int        // of a server
	servers [][]string // arguments of each
}

// makespan measures the duration of a batch on servers with slots each, several times.
func (b *bench) makespan(ctx context.Context, f slotFleet, rounds int, write func(io.Writer) error) (walls seconds, err error) {
	var sims []*process
	for _, args := range f.servers {
		sim, err := b.startSim(ctx, append([]string{"--max-num-seqs", strconv.Itoa(f.slots)}, args...)...)
		if err != nil {
			return nil, err
		}
		defer sim.stop()
		sims = append(sims, sim)
	}
	gateway, err := b.startGateway(ctx, sims, "--max-num-seqs", strconv.Itoa(f.slots), "--batch-share", "1")
	if err != nil {
		return nil, err
	}
	defer gateway.stop()
	for range rounds {
		fileID, err := upload(ctx, gateway.addr, write)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		created, err := createBatch(ctx, gateway.addr, fileID)
		if err != nil {
			return nil, err
		}
		if _, err := waitBatch(ctx, gateway.addr, created.ID, nil); err != nil {
			return nil, err
		}
		walls = append(walls, time.Since(begin).Seconds())
	}
	return walls, nil
}

// measureMemory runs a batch of 200 MB from upload to download and compares the peak memory
// of the gateway with its idle memory.
func measureMemory(ctx context.Context, b *bench) (any, error) {
	const lines, size = 50_000, 4000
	sim, err := b.startSim(ctx, "--max-num-seqs", "512")
	if err != nil {
		return nil, err
	}
	defer sim.stop()
	gateway, err := b.startGateway(ctx, []*process{sim})
	if err != nil {
		return nil, err
	}
	defer gateway.stop()
	idle, err := gateway.memory("VmRSS")
	if err != nil {
		return nil, err
	}
	fileID, err := uploadInput(ctx, gateway.addr, lines, size)
	if err != nil {
		return nil, err
	}
	created, err := createBatch(ctx, gateway.addr, fileID)
	if err != nil {
		return nil, err
	}
	ended, err := waitBatch(ctx, gateway.addr, created.ID, nil)
	if err != nil {
		return nil, err
	}
	bytes, got, err := download(ctx, gateway.addr, ended.OutputFileID)
	if err != nil {
		return nil, err
	}
	if got != lines {
		return nil, fmt.Errorf("%d lines of output, want %d", got, lines)
	}
	peak, err := gateway.memory("VmHWM")
	if err != nil {
		return nil, err
	}
	above := float64(peak-idle) / (1 << 20)
	fmt.Printf("memory: idle %.0f MiB, at most %.0f MiB above it (input %d MB, output %d MB)\n", float64(idle)/(1<<20), above, int64(lines)*(size+150)/1e6, bytes/1e6)
	return map[string]any{"idle_bytes": idle, "peak_bytes": peak, "above_idle_mib": above}, nil
}
