package s3

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// retry calls do until it succeeds, fails permanently, or reaches the number of attempts.
// It returns the unchanged error of the last attempt.
func (f *Files) retry(ctx context.Context, do func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ended := ctx.Err(); ended != nil {
			return ended
		}
		if attempt >= f.cfg.Attempts || !isPassing(err) {
			return err
		}
		if !f.wait(ctx, attempt) {
			return errors.Join(ctx.Err(), f.explain(err))
		}
	}
}

// wait waits before the next attempt, and reports whether ctx has not ended.
func (f *Files) wait(ctx context.Context, attempt int) bool {
	t := time.NewTimer(f.backoff(attempt))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// backoff doubles with each attempt. Half of it is random, so that clients that were
// refused at the same time do not retry at the same time.
func backoff(attempt int) time.Duration {
	d := min(firstBackoff<<min(attempt-1, 10), lastBackoff)
	return d/2 + rand.N(d/2)
}
