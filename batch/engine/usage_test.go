package engine_test

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestLiveUsageIsKept(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	for range 3 {
		h.Engine.RecordUsage(batch.UsageRecord{
			Tenant: tenant, Class: "live", Model: "m", Endpoint: "/v1/chat/completions", Requests: 1,
			Usage: openai.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15},
		})
	}
	h.Close(0)
	h.Open()
	records, err := h.Store.Usage(t.Context(), tenant, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 || records[0].Requests != 3 || records[0].Usage.TotalTokens != 45 || records[0].Class != "live" {
		t.Errorf("%+v", records)
	}
}
