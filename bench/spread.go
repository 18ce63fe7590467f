package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"time"
)

const (
	spreadGateways = 3
	spreadServers  = 4
	spreadSlots    = 192 // of a server, for batches: the default share of 256
)

// spreadBatches are batches that fill all slots once, and a dozen times.
var spreadBatches = []struct {
	name    string
	lines   int
	service time.Duration
}{
	{"small", 704, 2 * time.Second},
	{"large", 9000, 500 * time.Millisecond},
}

// measureSpread compares the time of one batch on three gateways, which share the servers'
// slots, with the ideal of full rounds: a gateway that prefetches too many lines leaves
// slots of the others idle.
func measureSpread(ctx context.Context, b *bench) (any, error) {
	shared, err := startBackends(ctx)
	if err != nil {
		return nil, err
	}
	defer shared.stop()
	report := make(map[string]any)
	for _, batch := range spreadBatches {
		c := configured{}
		for range spreadServers {
			sim, err := b.startSim(ctx, "--max-num-seqs", "256", "--ttft", batch.service.String())
			if err != nil {
				return nil, err
			}
			defer sim.stop()
			c.upstreams = append(c.upstreams, sim)
		}
		if c.data, err = os.MkdirTemp(b.dir, "data-"); err != nil {
			return nil, fmt.Errorf("making data directory: %w", err)
		}
		if c.app, err = shared.drivers(ctx, "spread_"+batch.name); err != nil {
			return nil, err
		}
		walls, err := b.spread(ctx, c, batch.lines)
		if err != nil {
			return nil, err
		}
		ideal := time.Duration(math.Ceil(float64(batch.lines)/(spreadServers*spreadSlots))) * batch.service
		report[batch.name] = walls.beside("spread, "+batch.name, "ideal", ideal)
	}
	return report, nil
}

// spread measures three times the duration of a batch on idle gateways.
func (b *bench) spread(ctx context.Context, c configured, lines int) (walls seconds, err error) {
	gateways, err := b.startSeveral(ctx, c, spreadGateways)
	if err != nil {
		return nil, err
	}
	defer stopAll(gateways)
	entrance := gateways[0].addr
	if _, err := runBatch(ctx, entrance, lines, 40); err != nil { // so that connections are open
		return nil, fmt.Errorf("warming up: %w", err)
	}
	for range 3 {
		fileID, err := uploadInput(ctx, entrance, lines, 40)
		if err != nil {
			return nil, err
		}
		if err := pause(ctx, 2*time.Second); err != nil { // let all gateways learn that no request is in flight
			return nil, err
		}
		begin := time.Now()
		created, err := createBatch(ctx, entrance, fileID)
		if err != nil {
			return nil, err
		}
		ended, err := waitBatch(ctx, entrance, created.ID, nil)
		if err != nil {
			return nil, err
		}
		walls = append(walls, time.Since(begin).Seconds())
		if err := checkOutput(ctx, entrance, ended); err != nil {
			return nil, err
		}
	}
	return walls, nil
}
