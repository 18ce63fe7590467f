package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store/postgres"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

const (
	claimsSmall  = 1_024     // unfinished lines, 16 slices
	claimsLarge  = 1_003_520 // 15,680 slices in 20 batches
	claimsWarmup = 20        // steps that do not count
	claimsSteps  = 300       // steps that do: a look, a claim and two commits each
	// claimsGoal is the largest ratio of a call's duration with the large store.
	claimsGoal = 1.5
)

// claimsSide is one size of one store.
type claimsSide struct {
	Unfinished int       `json:"unfinished_lines_at_least"`
	Look       quantiles `json:"claimable_slices"`
	Claim      quantiles `json:"claim_slices"`
	Commit     quantiles `json:"commit_results"`
}

// measureClaims compares the durations of finding slices, claiming eight and committing
// 256 lines of them between a store with about a thousand unfinished lines and one with a
// million, on both stores, and on PostgreSQL before and after autovacuum. The two sizes
// are separate databases, and their calls alternate.
func measureClaims(ctx context.Context, b *bench) (any, error) {
	db, err := startDatabase(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	report := map[string]any{"postgres settings": db.Settings, "goal": claimsGoal}
	onPostgres := func(name string) (batch.Store, error) {
		url, err := db.create(ctx, name)
		if err != nil {
			return nil, err
		}
		return postgres.New(postgres.Config{URL: url})
	}
	for _, driver := range []claimsDriver{
		{name: "sqlite", open: func(name string) (batch.Store, error) {
			return sqlite.New(sqlite.Config{Path: filepath.Join(b.dir, name, "tidegate.db")}), nil
		}},
		{name: "postgres", open: onPostgres},
		{name: "postgres_analyzed", open: onPostgres, warm: db.analyze},
	} {
		small, large, err := compareClaims(ctx, driver)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", driver.name, err)
		}
		ratios := make(map[string]float64)
		for _, q := range []struct {
			name         string
			small, large quantiles
		}{
			{"ClaimableSlices", small.Look, large.Look},
			{"ClaimSlices", small.Claim, large.Claim},
			{"CommitResults", small.Commit, large.Commit},
		} {
			ratios[q.name] = q.large.Median / q.small.Median
			ratios[q.name+" p99"] = q.large.P99 / q.small.P99
			fmt.Printf("%s, %s: median %.3f ms with 1,000 lines, %.3f ms with 1,000,000, ratio %.2f (p99 %.2f and %.2f ms, ratio %.2f)\n",
				driver.name, q.name, q.small.Median, q.large.Median, ratios[q.name], q.small.P99, q.large.P99, ratios[q.name+" p99"])
		}
		report[driver.name] = map[string]any{"small": small, "large": large, "ratios": ratios}
	}
	return report, nil
}

// claimsDriver is a kind of store.
type claimsDriver struct {
	name string
	open func(name string) (batch.Store, error)
	// warm, when set, is called for each after the warm-up.
	warm func(ctx context.Context, name string) error
}

// analyze updates the planner's statistics, as autovacuum does within a minute, and has
// prepared statements planned again.
func (d *database) analyze(ctx context.Context, name string) error {
	c, err := pgx.Connect(ctx, d.URL(name))
	if err != nil {
		return fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		return fmt.Errorf("analyzing tables: %w", err)
	}
	return nil
}

// compareClaims runs both sizes side by side.
func compareClaims(ctx context.Context, driver claimsDriver) (small, large claimsSide, err error) {
	sides := []*workload{
		{name: driver.name + "_small", unfinishedWant: claimsSmall, batchLines: claimsSmall},
		{name: driver.name + "_large", unfinishedWant: claimsLarge, batchLines: claimsLarge / 20},
	}
	for _, w := range sides {
		if w.store, err = driver.open(w.name); err != nil {
			return small, large, err
		}
		if err := w.store.Open(ctx); err != nil {
			return small, large, err
		}
		defer w.store.Close()
	}
	for i := range claimsWarmup + claimsSteps {
		if i == claimsWarmup {
			for _, w := range sides {
				if driver.warm != nil {
					if err := driver.warm(ctx, w.name); err != nil {
						return small, large, err
					}
				}
				w.looks, w.claims, w.commits = nil, nil, nil
			}
		}
		for side := range sides {
			if err := sides[(i+side)%len(sides)].step(ctx); err != nil { // each goes first as often as the other
				return small, large, err
			}
		}
	}
	return sides[0].side(), sides[1].side(), nil
}

func (w *workload) side() claimsSide {
	return claimsSide{w.unfinishedWant, quantilesOf(w.looks), quantilesOf(w.claims), quantilesOf(w.commits)}
}

// quantiles sum up times, in milliseconds.
type quantiles struct {
	Calls  int     `json:"calls"`
	Median float64 `json:"median_ms"`
	P90    float64 `json:"p90_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

func quantilesOf(times []time.Duration) quantiles {
	if len(times) == 0 {
		return quantiles{}
	}
	at := func(q float64) float64 { return quantile(times, q).Seconds() * 1e3 }
	return quantiles{len(times), at(0.5), at(0.9), at(0.99), at(1)}
}
