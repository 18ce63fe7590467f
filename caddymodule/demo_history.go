package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams"
)

// makeUpHistory writes a day of usage into the new database of a demo: live requests
// peak at noon and batches fill the rest. It is used by the demo only.
func makeUpHistory(ctx context.Context, dataDir string, models []string) (err error) {
	s := sqlite.New(sqlite.Config{Path: new(SQLiteStore).path(dataDir)})
	if err := s.Open(ctx); err != nil {
		return fmt.Errorf("making up the demo's history: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	now, err := s.Now(ctx)
	if err != nil {
		return fmt.Errorf("making up the demo's history: %w", err)
	}
	const quarter = 15 * time.Minute
	for back := 24 * time.Hour; back >= quarter; back -= quarter {
		at := now.Add(-back)
		day := (1 + math.Sin(2*math.Pi*(float64(at.Hour()*60+at.Minute())/(24*60)-0.25))) / 2 // 0 at midnight, 1 at noon
		ripple := 1 + 0.15*math.Sin(float64(at.Unix())/2700)
		live := int64((200 + 3400*day) * ripple)
		lines := int64((24_000 - 17_000*day) * ripple)
		var records []batch.UsageRecord
		for _, model := range models {
			records = append(records,
				madeUp(upstreams.Live, model, live/int64(len(models)), 420, 48),
				madeUp(upstreams.Batch, model, lines/int64(len(models)), 310, 64))
		}
		if err := s.AddUsageAt(ctx, at, records); err != nil {
			return fmt.Errorf("making up the demo's history: %w", err)
		}
	}
	return nil
}

// madeUp returns the usage of a number of requests with the tokens of each.
func madeUp(class upstreams.Class, model string, requests, in, out int64) batch.UsageRecord {
	return batch.UsageRecord{
		Tenant: batch.DefaultTenant, Class: class.String(), Model: model, Endpoint: "/v1/chat/completions", Requests: requests,
		Usage: openai.Usage{InputTokens: requests * in, OutputTokens: requests * out, TotalTokens: requests * (in + out)},
	}
}
