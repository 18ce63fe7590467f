package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// churnLines and churnTime are both lower limits of a run: autovacuum runs once a
	// minute, and its effect shows after some rounds.
	churnLines = 1_000_000
	churnTime  = 5 * time.Minute

	churnBatch  = 50_000 // lines of a batch
	churnBeside = 2      // batches at a time
	churnSample = 3 * time.Second
	// churnAfter is the time of observation after the last batch: one round of the
	// gateway's cleaner and one of autovacuum.
	churnAfter = 150 * time.Second
)

// churnBatchTime is one batch of the run.
type churnBatchTime struct {
	From    float64 `json:"from"` // seconds since the start
	Seconds float64 `json:"seconds"`
}

// churn is a run under observation.
type churn struct {
	gateway string
	fileID  string
	begin   time.Time
	lines   atomic.Int64 // of batches that have ended

	mu      sync.Mutex
	batches []churnBatchTime // guarded by mu
}

// measureChurn runs batch after batch at full speed on PostgreSQL, with default settings
// of autovacuum and of the gateway's cleaner, and deletes each when it has ended. It
// measures the sizes of tables and the durations of statements that claim slices and
// commit results.
func measureChurn(ctx context.Context, b *bench) (any, error) {
	shared, err := startBackends(ctx, "shared_preload_libraries=pg_stat_statements", "track_wal_io_timing=on")
	if err != nil {
		return nil, err
	}
	defer shared.stop()
	sim, err := b.startSim(ctx, "--max-num-seqs", "512")
	if err != nil {
		return nil, err
	}
	defer sim.stop()
	c, err := shared.configured(ctx, b, sim, "")
	if err != nil {
		return nil, err
	}
	gateway, err := b.startConfigured(ctx, c)
	if err != nil {
		return nil, err
	}
	defer gateway.stop()
	w, err := newWatch(ctx, shared.db.URL("tidegate"))
	if err != nil {
		return nil, err
	}
	defer w.close(ctx)

	run := &churn{gateway: gateway.addr}
	if run.fileID, err = uploadInput(ctx, run.gateway, churnBatch, 40); err != nil {
		return nil, err
	}
	run.begin = time.Now()
	worked, err := run.observed(ctx, w)
	if err != nil {
		return nil, err
	}
	return run.report(w, worked, shared.db.Settings)
}

// observed runs batches and takes samples meanwhile, and for a while after. It returns the
// time with work.
func (r *churn) observed(ctx context.Context, w *watch) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		workers, watching sync.WaitGroup
		sampling          = make(chan struct{})
	)
	watching.Go(func() {
		for {
			select {
			case <-sampling:
				return
			case <-ctx.Done():
				return
			case <-time.After(churnSample):
			}
			if err := w.sample(ctx, time.Since(r.begin), r.lines.Load()); err != nil {
				cancel(err)
			}
		}
	})
	var started atomic.Int64
	for range churnBeside {
		workers.Go(func() {
			for started.Add(churnBatch) <= churnLines || time.Since(r.begin) < churnTime {
				if err := r.batch(ctx); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	workers.Wait()
	worked := time.Since(r.begin)
	err := pause(ctx, churnAfter)
	close(sampling)
	watching.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return 0, cause
	}
	return worked, err
}

// batch runs one batch and deletes it.
func (r *churn) batch(ctx context.Context) error {
	from := time.Since(r.begin)
	created, err := createBatch(ctx, r.gateway, r.fileID)
	if err != nil {
		return err
	}
	ended, err := waitBatch(ctx, r.gateway, created.ID, nil)
	if err != nil {
		return err
	}
	took := time.Since(r.begin) - from
	if err := checkOutput(ctx, r.gateway, ended); err != nil {
		return err
	}
	var gone struct{ Deleted bool }
	if err := call(ctx, http.MethodDelete, "http://"+r.gateway+"/v1/batches/"+created.ID, "", nil, &gone); err != nil {
		return err
	}
	if !gone.Deleted {
		return errors.New("a batch that had ended was not deleted")
	}
	r.lines.Add(churnBatch)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, churnBatchTime{from.Seconds(), took.Seconds()})
	return nil
}

// report compares the thirds of the working time. Tables grow until the first autovacuum,
// so their size is compared from the second third on.
func (r *churn) report(w *watch, worked time.Duration, settings map[string]string) (map[string]any, error) {
	lines := r.lines.Load()
	fmt.Printf("churn: %d lines in %.0f s, %.0f lines/s\n", lines, worked.Seconds(), float64(lines)/worked.Seconds())
	report := map[string]any{"postgres": settings, "lines": lines, "seconds": worked.Seconds(), "batches": r.batches, "samples": w.raw()}
	spans := make(map[string]span)
	for _, part := range []struct {
		name     string
		from, to time.Duration
	}{
		{"first third", 0, worked / 3},
		{"second third", worked / 3, worked * 2 / 3},
		{"last third", worked * 2 / 3, worked},
		{"after the end", worked, worked + churnAfter},
		{"last minute", worked + churnAfter - time.Minute, worked + churnAfter},
	} {
		s := w.between(part.from, part.to)
		fmt.Printf("  %s: work tables at most %.0f MB, dead rows at most %d; claim %.2f ms, commit %.2f ms per group, wait for the disk %.2f ms per sync\n",
			part.name, s.MaxBytes/1e6, s.MaxDead, s.ClaimMillis, s.CommitMillis, s.SyncMillis)
		report[part.name], spans[part.name] = s, s
	}
	first, second, last := spans["first third"], spans["second third"], spans["last third"]
	for _, s := range []span{first, second, last} {
		if s.ClaimMillis == 0 || s.CommitMillis == 0 {
			return nil, errUnseen
		}
	}
	report["bytes_ratio"] = last.MaxBytes / second.MaxBytes
	report["claim_ratio"] = last.ClaimMillis / first.ClaimMillis
	report["commit_ratio"] = last.CommitMillis / first.CommitMillis
	fmt.Printf("  last third beside second: size %.2f; beside first: claim %.2f, commit %.2f\n", report["bytes_ratio"], report["claim_ratio"], report["commit_ratio"])
	return report, nil
}

// errUnseen is for statements that batch/store/postgres words otherwise by now.
var errUnseen = errors.New("a third of the run shows no claims or no commits: do the statements begin as this program expects?")
