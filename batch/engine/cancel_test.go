package engine_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestCancelKeepsWhatFinished(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 20})
	h.Pool.Answer, _ = batchtest.First(100)
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(500)))
	h.WaitCounted(id, 100)
	if b, err := h.Engine.CancelBatch(t.Context(), tenant, id); err != nil || b.Status != batch.Cancelling {
		t.Fatalf("%v, %v", b.Status, err)
	}
	b := h.Wait(id)
	if b.Status != batch.Cancelled || b.Counts != (openai.RequestCounts{Total: 500, Completed: 100}) {
		t.Errorf("%s %+v", b.Status, b.Counts)
	}
	errs := h.Check(b, 500)
	for _, e := range errs {
		if e.Error == nil || e.Error.Code != "batch_cancelled" {
			t.Fatalf("%+v", e)
		}
	}
	if b, err := h.Engine.CancelBatch(t.Context(), tenant, id); err != nil || b.Status != batch.Cancelled {
		t.Errorf("again: %v, %v", b.Status, err)
	}
}

func TestCancelBeforeValidation(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Discovered, h.Pool.Models = false, nil // validation waits
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(130)))
	if _, err := h.Engine.CancelBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models = true, map[string]bool{"m": true} })
	b := h.Wait(id)
	if b.Status != batch.Cancelled || b.Counts != (openai.RequestCounts{Total: 130}) {
		t.Errorf("%s %+v", b.Status, b.Counts)
	}
	if errs := h.Check(b, 130); len(errs) != 130 || errs[0].Error.Code != "batch_cancelled" {
		t.Errorf("%d errors", len(errs))
	}
	if len(h.Pool.Calls) != 0 {
		t.Errorf("%d lines were run", len(h.Pool.Calls))
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 20, ExpireInterval: 5 * time.Millisecond})
	h.Pool.Answer, _ = batchtest.First(50)
	var passed atomic.Int64
	h.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	h.Open()
	id := h.CreateFor(h.Upload(batchtest.Input(200)), time.Hour)
	h.WaitCounted(id, 50)
	passed.Store(int64(2 * time.Hour))
	b := h.Wait(id)
	if b.Status != batch.Expired || b.Counts != (openai.RequestCounts{Total: 200, Completed: 50}) {
		t.Errorf("%s %+v", b.Status, b.Counts)
	}
	if errs := h.Check(b, 200); len(errs) != 150 || errs[0].Error.Code != "batch_expired" {
		t.Errorf("%d errors", len(errs))
	}
}
