package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	takeoverRounds   = 20
	takeoverGateways = 3
	takeoverLines    = 50_000 // more than are done until the end of a round
	takeoverTTFT     = "500ms"
	// takeoverGoal is the limit for the 99th percentile.
	takeoverGoal = 30 * time.Second
)

// takeoverRound is one kill.
type takeoverRound struct {
	Held    int     `json:"slices_held"` // by all gateways at the kill
	Seconds float64 `json:"seconds"`     // until each was finished, or claimed again
}

// measureTakeover kills one of three gateways with default settings on PostgreSQL and Redis
// in the middle of a batch, and measures the time until the others have claimed all of its
// slices.
func measureTakeover(ctx context.Context, b *bench) (any, error) {
	shared, err := startBackends(ctx)
	if err != nil {
		return nil, err
	}
	defer shared.stop()
	sim, err := b.startSim(ctx, "--max-num-seqs", "2048", "--ttft", takeoverTTFT)
	if err != nil {
		return nil, err
	}
	defer sim.stop()
	c, err := shared.configured(ctx, b, sim, "drain_timeout 1s")
	if err != nil {
		return nil, err
	}
	gateways, err := b.startSeveral(ctx, c, takeoverGateways)
	if err != nil {
		return nil, err
	}
	defer func() { stopAll(gateways) }()
	db, err := pgx.Connect(ctx, shared.db.URL("tidegate"))
	if err != nil {
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer db.Close(ctx)
	fileID, err := uploadInput(ctx, gateways[0].addr, takeoverLines, 40)
	if err != nil {
		return nil, err
	}
	var raw []takeoverRound
	var times []float64
	for range takeoverRounds {
		r, err := takeover(ctx, gateways, db, fileID)
		if err != nil {
			return nil, err
		}
		raw, times = append(raw, r), append(times, r.Seconds)
		fmt.Printf("takeover: %d slices after %.1f s\n", r.Held, r.Seconds)
		if gateways[0], err = b.startConfigured(ctx, c); err != nil {
			return nil, err
		}
	}
	fmt.Printf("takeover: median %.1f s, p99 %.1f s of %d kills, goal %.0f s\n", median(times), quantile(times, 0.99), len(times), takeoverGoal.Seconds())
	return map[string]any{"rounds": raw, "median_seconds": median(times), "p99_seconds": quantile(times, 0.99), "goal_seconds": takeoverGoal.Seconds()}, nil
}

// takeover has the gateways begin a batch and kills the first of them.
func takeover(ctx context.Context, gateways []*process, db *pgx.Conn, fileID string) (takeoverRound, error) {
	var r takeoverRound
	entrance := gateways[len(gateways)-1].addr
	created, err := createBatch(ctx, entrance, fileID)
	if err != nil {
		return r, err
	}
	// All gateways work, and the lease of the killed one has a random age.
	if err := pause(ctx, 4*time.Second+rand.N(8*time.Second)); err != nil {
		return r, err
	}
	gateways[0].kill()
	begin := time.Now()
	if _, err := db.Exec(ctx, `CREATE TEMPORARY TABLE held AS SELECT batch, number, attempt FROM slices WHERE NOT finished AND lease_until <> 0`); err != nil {
		return r, fmt.Errorf("recording held slices: %w", err)
	}
	for left := -1; left != 0; {
		if err := db.QueryRow(ctx, `SELECT (SELECT count(*) FROM held), count(*) FROM held h JOIN slices s USING (batch, number) WHERE NOT s.finished AND s.attempt = h.attempt`).Scan(&r.Held, &left); err != nil {
			return r, fmt.Errorf("reading held slices: %w", err)
		}
		r.Seconds = time.Since(begin).Seconds()
		if time.Since(begin) > patience {
			return r, fmt.Errorf("%d of %d slices were not taken over within %s", left, r.Held, patience)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return r, err
		}
	}
	if _, err := db.Exec(ctx, `DROP TABLE held`); err != nil {
		return r, fmt.Errorf("deleting the record of held slices: %w", err)
	}
	if err := call(ctx, "POST", "http://"+entrance+"/v1/batches/"+created.ID+"/cancel", "", nil, &created); err != nil {
		return r, err
	}
	return r, awaitEnd(ctx, entrance, created.ID)
}
