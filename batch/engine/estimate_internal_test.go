package engine

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

func TestEstimate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 30, 0, time.UTC)
	minute := func(back int, n int64) batch.Minute {
		return batch.Minute{At: now.Truncate(time.Minute).Add(-time.Duration(back) * time.Minute), Completed: n - n/4, Failed: n / 4}
	}
	running := func(ran time.Duration, left int64) batch.Batch {
		b := batch.Batch{Status: batch.InProgress, InProgressAt: now.Add(-ran), ExpiresAt: now.Add(time.Hour)}
		b.Counts.Total, b.Counts.Completed, b.Counts.Failed = left+30, 20, 10
		return b
	}
	paused := running(time.Hour, 100)
	paused.PausedAt = now
	for name, tt := range map[string]struct {
		b         batch.Batch
		minutes   []batch.Minute
		rate      float64 // -1: nil
		remaining time.Duration
		misses    string // "", "no", "yes"
	}{
		"half of the minute before counts": {running(time.Hour, 100), []batch.Minute{minute(1, 100), minute(0, 50)}, 100, time.Minute, "no"},
		"a batch that just began":          {running(3*time.Second, 100), []batch.Minute{minute(0, 50)}, -1, 0, ""},
		"a batch that began this minute":   {running(15*time.Second, 100), []batch.Minute{minute(0, 50)}, 200, 30 * time.Second, ""},
		"one that began in the last":       {running(45*time.Second, 100), []batch.Minute{minute(1, 25), minute(0, 50)}, 100, time.Minute, ""},
		"slow in its first minute":         {running(30*time.Second, 1_000_000), []batch.Minute{minute(0, 3)}, 6, 0, ""},
		"slow after its first minute":      {running(time.Minute, 1_000_000), []batch.Minute{minute(0, 3)}, 3, 0, "yes"},
		"nothing moves":                    {running(time.Hour, 100), nil, 0, 0, ""},
		"it will be late":                  {running(time.Hour, 10_000), []batch.Minute{minute(0, 100)}, 100, 100 * time.Minute, "yes"},
		"it never ends":                    {running(time.Hour, 1<<40), []batch.Minute{minute(0, 4)}, 4, 0, "yes"},
		"paused":                           {paused, []batch.Minute{minute(0, 100)}, 100, 0, ""},
	} {
		got := estimate(tt.b, tt.minutes, now)
		if (got.LinesPerMinute == nil) != (tt.rate < 0) || got.LinesPerMinute != nil && *got.LinesPerMinute != tt.rate {
			t.Errorf("%s: rate %v", name, got.LinesPerMinute)
		}
		if (got.Remaining == nil) != (tt.remaining == 0) || got.Remaining != nil && (*got.Remaining != tt.remaining || !got.FinishesAt.Equal(now.Add(tt.remaining))) {
			t.Errorf("%s: remaining %v", name, got.Remaining)
		}
		misses := ""
		if got.MissesDeadline != nil {
			misses = map[bool]string{false: "no", true: "yes"}[*got.MissesDeadline]
		}
		if misses != tt.misses {
			t.Errorf("%s: misses its deadline: %q", name, misses)
		}
	}
}
