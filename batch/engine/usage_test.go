package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
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

// Live requests are counted by key, with the prices of the time at which they end.
func TestLiveUsageHasCost(t *testing.T) {
	t.Parallel()
	prices := func(text string) batch.Config {
		rate, err := batch.ParseRate(text)
		if err != nil {
			t.Fatal(err)
		}
		return batch.Config{Prices: &batch.Prices{Currency: "EUR", BatchDiscount: 500, Models: map[string]batch.ModelPrice{"m": {Input: rate, Output: rate}}}}
	}
	h := newHarness(t, prices("1"))
	h.Open()
	record := func(key, model string) {
		h.Engine.RecordUsage(batch.UsageRecord{
			Tenant: tenant, KeyID: key, Class: batch.ClassLive, Model: model, Endpoint: "/v1/chat/completions", Requests: 1,
			Usage: openai.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15},
		})
	}
	record("a", "m")
	record("b", "m")
	record("a", "other")
	h.Engine.Apply(prices("3"))
	record("a", "m")
	h.Close(0)
	h.Open()
	report, err := h.Store.KeyUsage(t.Context(), tenant, batch.UsageQuery{
		From: time.Now().Add(-48 * time.Hour), To: time.Now().Add(48 * time.Hour), By: batch.UsageGroup{Key: true, Model: true}, Limit: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []batch.UsageRow{
		{KeyID: "a", Model: "m", Requests: 2, InputTokens: 20, OutputTokens: 10, Cost: 15_000 + 45_000},
		{KeyID: "a", Model: "other", Requests: 1, Unpriced: 1, InputTokens: 10, OutputTokens: 5},
		{KeyID: "b", Model: "m", Requests: 1, InputTokens: 10, OutputTokens: 5, Cost: 15_000},
	}
	if diff := cmp.Diff(want, report.Rows); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}

// Lines cost what the tokens of their answers cost, with the discount, and once.
func TestBatchHasCost(t *testing.T) {
	t.Parallel()
	rate, err := batch.ParseRate("2")
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, batch.Config{Prices: &batch.Prices{Currency: "EUR", BatchDiscount: 500, Models: map[string]batch.ModelPrice{batch.AnyModel: {Input: rate, CachedInput: rate, Output: rate}}}})
	h.Open()
	b := h.Wait(h.Create(h.Upload(batchtest.Input(100))))
	tokens := b.Usage.InputTokens + b.Usage.OutputTokens
	if want := batch.Money(1000 * tokens); tokens == 0 || b.Cost != want || b.Unpriced != 0 {
		t.Errorf("%d tokens cost %s with %d unpriced lines, want %s and none", tokens, b.Cost, b.Unpriced, want)
	}
	report, err := h.Engine.UsageTable(t.Context(), tenant, usageByBatch("", 10))
	if err != nil || len(report.Rows) != 1 || report.Rows[0].BatchID != b.ID || report.Total.Cost != b.Cost || report.More {
		t.Errorf("the report by batch is %+v (%v)", report, err)
	}
}

// usageByBatch asks for batches of these days.
func usageByBatch(key string, limit int) batch.UsageTableQuery {
	return batch.UsageTableQuery{
		UsageQuery: batch.UsageQuery{From: time.Now().Add(-48 * time.Hour), To: time.Now().Add(48 * time.Hour), KeyID: key, Limit: limit},
		ByBatch:    true,
	}
}

// The batches of a key are found behind those of others, however few are asked for.
func TestBatchUsageOfKey(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	file := h.Upload(batchtest.Input(1))
	var ids []string
	for _, key := range []string{"a", "a", "b", "b"} {
		b, err := h.Engine.CreateBatch(access.With(t.Context(), access.Identity{KeyID: key, Tenant: tenant}), tenant, batch.CreateRequest{InputFileID: file, Endpoint: "/v1/chat/completions", CompletionWindow: "24h", Window: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, b.ID)
	}
	for limit, want := range map[int][]string{1: {ids[1]}, 2: {ids[1], ids[0]}, 3: {ids[1], ids[0]}} {
		report, err := h.Engine.UsageTable(t.Context(), tenant, usageByBatch("a", limit))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, row := range report.Rows {
			got = append(got, row.BatchID)
		}
		if !slices.Equal(got, want) || report.More != (limit == 1) {
			t.Errorf("limit %d: got %q, more %t, want %q", limit, got, report.More, want)
		}
	}
}
