package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Estimate is an estimate of the remaining time of a batch. Unknown values are nil.
type Estimate struct {
	// LinesPerMinute is the rate of the last minute, on all gateways.
	LinesPerMinute *float64
	// Remaining is the time that the lines without a result take at that rate. It is nil
	// when no line ends, and for a batch that is paused.
	Remaining *time.Duration
	// FinishesAt is when they are done.
	FinishesAt *time.Time
	// MissesDeadline reports whether that is after ExpiresAt. It is nil in the first
	// rateSpan of a batch, whose first lines say little of its rate.
	MissesDeadline *bool
}

// rateSpan is the period of a rate. rateLeast is the minimum time that a batch must have run
// before its rate is used.
const (
	rateSpan  = time.Minute
	rateLeast = 5 * time.Second
)

// Estimates estimates the rest of batches, by their ids.
func (r *Reads) Estimates(ctx context.Context, batches ...batch.Batch) (map[string]Estimate, error) {
	now, err := r.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the clock: %w", err)
	}
	estimates := make(map[string]Estimate, len(batches))
	var ids []string
	for _, b := range batches {
		estimates[b.ID] = Estimate{}
		if b.Status == batch.InProgress {
			ids = append(ids, b.ID)
		}
	}
	if len(ids) == 0 {
		return estimates, nil
	}
	minutes, err := r.store.Progress(ctx, ids, now.Add(-rateSpan))
	if err != nil {
		return nil, err
	}
	_, closed := r.Closed() // a rate does not apply to the rest then
	for _, b := range batches {
		if b.Status == batch.InProgress {
			estimates[b.ID] = estimate(b, minutes[b.ID], now)
			if closed {
				estimates[b.ID] = Estimate{LinesPerMinute: estimates[b.ID].LinesPerMinute}
			}
		}
	}
	return estimates, nil
}

// Progress returns the number of lines of a batch that got their result, by minute.
func (r *Reads) Progress(ctx context.Context, tenant, id string, since time.Time) ([]batch.Minute, error) {
	if _, err := r.store.Batch(ctx, tenant, id); err != nil {
		return nil, err
	}
	minutes, err := r.store.Progress(ctx, []string{id}, since)
	return minutes[id], err
}

// estimate works out an estimate from the minutes that the last rateSpan
// touches.
func estimate(b batch.Batch, minutes []batch.Minute, now time.Time) Estimate {
	ran := now.Sub(b.InProgressAt)
	if ran < rateLeast {
		return Estimate{}
	}
	lines := 0.0
	for _, m := range minutes {
		share := 1.0
		if ran > rateSpan {
			share = shareOf(m, now)
		}
		lines += share * float64(m.Completed+m.Failed)
	}
	perMinute := lines / min(ran, rateSpan).Minutes()
	e := Estimate{LinesPerMinute: &perMinute}
	if perMinute <= 0 || !b.PausedAt.IsZero() {
		return e
	}
	minutesLeft := float64(b.Left()) / perMinute
	misses := true
	if minutesLeft <= batch.MaxWindow.Minutes() { // else a Duration may not hold it
		remaining := time.Duration(minutesLeft * float64(time.Minute)).Truncate(time.Second)
		finishes := now.Add(remaining)
		misses = finishes.After(b.ExpiresAt)
		e.Remaining, e.FinishesAt = &remaining, &finishes
	}
	if ran >= rateSpan {
		e.MissesDeadline = &misses
	}
	return e
}

// shareOf returns the part of a minute that is within the last rateSpan.
func shareOf(m batch.Minute, now time.Time) float64 {
	begun := now.Add(-rateSpan)
	if !m.At.Before(begun) {
		return 1
	}
	return max(0, float64(time.Minute-begun.Sub(m.At))/float64(time.Minute)) // its end
}
