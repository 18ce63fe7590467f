package source

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// TestBestRate checks that the estimate uses previous work, even if it was short.
func TestBestRate(t *testing.T) {
	bucket := func(class string, requests int64) batch.UsagePoint {
		return batch.UsagePoint{Class: class, Requests: requests}
	}
	ended := func(lines int64, took time.Duration) batch.Batch {
		begun := time.Unix(1_800_000_000, 0)
		return batch.Batch{InProgressAt: begun, FinalizingAt: begun.Add(took), Counts: openai.RequestCounts{Completed: lines - 1, Failed: 1}}
	}
	for _, c := range []struct {
		name   string
		points []batch.UsagePoint
		ended  []batch.Batch
		want   float64
	}{
		{"nothing", nil, nil, 0},
		{"live requests", []batch.UsagePoint{bucket("live", 9000)}, nil, 0},
		{"long work", []batch.UsagePoint{bucket("batch", 900), bucket("batch", 9000)}, []batch.Batch{ended(30_000, 2*time.Hour)}, 10},
		{"a batch of two minutes", []batch.UsagePoint{bucket("batch", 3600)}, []batch.Batch{ended(3600, 2*time.Minute)}, 30},
		{"one that is too short", []batch.UsagePoint{bucket("batch", 900)}, []batch.Batch{ended(20, 100*time.Millisecond)}, 1},
		{"one that took no time", nil, []batch.Batch{ended(1000, 0)}, 0},
	} {
		if got := bestRate(c.points, c.ended); got != c.want {
			t.Errorf("%s: %v lines per second, want %v", c.name, got, c.want)
		}
	}
}
