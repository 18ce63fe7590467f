package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch"
)

const (
	planningLines  = 50_000
	planningRounds = 5
	// planningGoal is the time limit of planning.
	planningGoal = 2 * time.Second
)

// planningRound has times since the request for a batch was sent, in seconds.
type planningRound struct {
	Answered float64 `json:"answered"` // the request had its answer
	Scanned  float64 `json:"scanned"`  // the input was read and checked; from the row's creation on, by the database's clock
	Queued   float64 `json:"queued"`   // every slice was in the store and in Redis
	Slices   int64   `json:"slices"`
}

// measurePlanning measures the time from POST /v1/batches until all slices of 50,000 lines
// are in the store and in Redis. The server behind the gateway does not respond meanwhile:
// an entry stays in its stream until its slice is finished, so the length of the stream is
// the number of queued slices.
func measurePlanning(ctx context.Context, b *bench) (any, error) {
	shared, err := startBackends(ctx)
	if err != nil {
		return nil, err
	}
	defer shared.stop()
	sim, err := b.startSim(ctx, "--ttft", "1h")
	if err != nil {
		return nil, err
	}
	defer sim.stop()
	c, err := shared.configured(ctx, b, sim, "drain_timeout 1s")
	if err != nil {
		return nil, err
	}
	gateway, err := b.startConfigured(ctx, c)
	if err != nil {
		return nil, err
	}
	defer gateway.stop()

	report := map[string]any{"postgres": shared.db.Settings, "goal_seconds": planningGoal.Seconds()}
	for _, size := range []int{40, 1000} {
		var raw []planningRound
		var queued []float64
		for range planningRounds {
			r, err := planOnce(ctx, gateway.addr, shared, size)
			if err != nil {
				return nil, err
			}
			raw, queued = append(raw, r), append(queued, r.Queued)
		}
		bytes := planningLines * int64(lineBytes(size))
		fmt.Printf("planning %d lines, %d MB: all queued after %.2f s (median of %d), goal %.0f s\n", planningLines, bytes/1e6, median(queued), len(raw), planningGoal.Seconds())
		report[fmt.Sprintf("prompts of %d bytes", size)] = map[string]any{"rounds": raw, "input_bytes": bytes, "seconds": median(queued)}
	}
	return report, nil
}

// planOnce has one batch planned, and cancels it.
func planOnce(ctx context.Context, gateway string, shared *backends, size int) (planningRound, error) {
	var r planningRound
	fileID, err := uploadInput(ctx, gateway, planningLines, size)
	if err != nil {
		return r, err
	}
	want := slicesOf(planningLines, lineBytes(size))
	begin := time.Now()
	created, err := createBatch(ctx, gateway, fileID)
	if err != nil {
		return r, err
	}
	r.Answered = time.Since(begin).Seconds()
	for {
		length, err := shared.redis.streamLength("tidegate", created.ID)
		if err != nil {
			return r, err
		}
		if length >= want {
			r.Queued, r.Slices = time.Since(begin).Seconds(), length
			break
		}
		if time.Since(begin) > patience {
			return r, fmt.Errorf("%d of %d slices are queued after %s", length, want, patience)
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return r, err
		}
	}
	if err := r.check(ctx, shared.db.URL("tidegate"), created.ID, want); err != nil {
		return r, err
	}
	if err := call(ctx, "POST", "http://"+gateway+"/v1/batches/"+created.ID+"/cancel", "", nil, &created); err != nil {
		return r, err
	}
	return r, awaitEnd(ctx, gateway, created.ID)
}

// check counts the slices in the store, and checks that none is finished: otherwise an
// entry could have left the stream before another was added.
func (r *planningRound) check(ctx context.Context, url, id string, want int64) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	var slices, lines, completed int64
	if err := c.QueryRow(ctx, `SELECT (b.in_progress_at - b.created_at) / 1e6::float8, b.completed, count(*), sum(s.lines)
		FROM batches b JOIN slices s ON s.batch = b.seq WHERE b.id = $1 GROUP BY b.seq`, id).Scan(&r.Scanned, &completed, &slices, &lines); err != nil {
		return fmt.Errorf("counting slices: %w", err)
	}
	if slices != want || r.Slices != want || lines != planningLines || completed != 0 {
		return fmt.Errorf("%d slices with %d lines stored, %d queued, %d lines completed; want %d slices", slices, lines, r.Slices, completed, want)
	}
	return nil
}

// streamLength returns the number of queued slices of a batch, under the key of
// batch/queue/redis.
func (r *redisServer) streamLength(prefix, batchID string) (int64, error) {
	answer, err := r.Do("XLEN", prefix+":{"+batchID+"}:slices")
	if err != nil {
		return 0, err
	}
	length, ok := answer.(int64)
	if !ok {
		return 0, fmt.Errorf("XLEN answered %v", answer)
	}
	return length, nil
}

// slicesOf returns the number of slices for lines of one length.
func slicesOf(lines, lineBytes int) int64 {
	each := max(1, min(batch.SliceLines, batch.SliceBytes/lineBytes))
	return int64((lines + each - 1) / each)
}

// awaitEnd waits until a cancelled batch has ended.
func awaitEnd(ctx context.Context, gateway, id string) error {
	b, err := waitBatch(ctx, gateway, id, nil)
	if b.Status == "cancelled" {
		return nil
	}
	return errors.Join(err, fmt.Errorf("batch ended as %s", b.Status))
}
