package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
)

// refusing answers every line with an error that names the line, until over is set.
type refusing struct{ over atomic.Bool }

func (r *refusing) answer(_ context.Context, id string, _ int) (batch.Answer, error) {
	if r.over.Load() {
		return batchtest.OK(id), nil
	}
	return batchtest.Status(400, fmt.Sprintf(`{"error":{"message":"Request '%s' needs 70%s tokens.","code":"too_long"}}`, id, id[5:])), nil
}

// paused waits until the gateway has paused a batch and what ran of it is
// durable.
func (h harness) paused(id string) batch.Batch {
	h.T.Helper()
	for deadline := time.Now().Add(batchtest.Patience); ; time.Sleep(time.Millisecond) {
		b := h.Get(id)
		if !b.PausedAt.IsZero() && h.Engine.InFlight() == 0 && b.Counts == h.Get(id).Counts {
			return b
		}
		if b.Status.Terminal() || time.Now().After(deadline) {
			h.T.Fatalf("got %s with %+v, want a paused batch", b.Status, b.Counts)
		}
	}
}

// wantStopped waits until the health of the engine lists these batches.
func (h harness) wantStopped(want ...engine.StoppedBatch) {
	h.T.Helper()
	for deadline := time.Now().Add(batchtest.Patience); ; time.Sleep(time.Millisecond) {
		got := h.Engine.Health(h.T.Context())
		if slices.Equal(got.Stopped, want) && got.OK() == (len(want) == 0) {
			return
		}
		if time.Now().After(deadline) {
			h.T.Fatalf("got health %+v, want stopped %+v", got, want)
		}
	}
}

// A batch whose lines all fail alike is paused with the reason. It continues when it is
// resumed, and no line is lost.
func TestFailingBatchIsPaused(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 20, StopAfter: 30})
	var server refusing
	h.Pool.Answer = server.answer
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(2000)))
	b := h.paused(id)
	for _, part := range []string{"30 lines", "400", "too_long", "Request … needs … tokens."} {
		if !strings.Contains(b.PauseReason, part) {
			t.Errorf("got reason %q, want %q in it", b.PauseReason, part)
		}
	}
	if b.Status != batch.InProgress || b.Counts.Failed > 30+20 {
		t.Errorf("got %s with %+v, want in_progress and at most 50 failed", b.Status, b.Counts)
	}
	h.wantStopped(engine.StoppedBatch{ID: id, Reason: b.PauseReason, Tenant: b.Tenant})

	h.Resume(id) // too early: the next streak pauses it again
	again := h.paused(id)
	if n := again.Counts.Failed - b.Counts.Failed; n < 30 || n > 30+20 {
		t.Errorf("got %d failures after resuming, want 30 to 50", n)
	}
	server.over.Store(true)
	h.Resume(id)
	b = h.Wait(id)
	if errs := h.Check(b, 2000); int64(len(errs)) != again.Counts.Failed || b.Status != batch.Completed || b.PauseReason != "" {
		t.Errorf("got %d errors, %s and reason %q, want %d, completed and none", len(errs), b.Status, b.PauseReason, again.Counts.Failed)
	}
	if n := h.Pool.Repeated(); n != 0 {
		t.Errorf("got %d lines sent again, want 0", n)
	}
	h.wantStopped()
}

// An answer of the store from before the pause starts no line of the batch.
func TestPauseIsNotUndoneByARefresh(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 20, StopAfter: 30})
	var server refusing
	h.Pool.Answer = server.answer
	h.Open()
	hook := func() error {
		for want, deadline := h.Store.Looks.Load()+3, time.Now().Add(batchtest.Patience); h.Store.Looks.Load() < want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return errors.New("the active batches were not refreshed")
			}
		}
		return nil
	}
	h.Store.BeforePause.Store(&hook)
	b := h.paused(h.Create(h.Upload(batchtest.Input(2000))))
	if b.Counts.Failed > 30+20 {
		t.Errorf("got %+v, want at most 50 failed", b.Counts)
	}
}

// Batches that stop_after does not concern end with all lines in their files.
func TestFailingBatchGoesOn(t *testing.T) {
	t.Parallel()
	fails := func(message func(id string) string) func(context.Context, string, int) (batch.Answer, error) {
		return func(_ context.Context, id string, _ int) (batch.Answer, error) {
			return batchtest.Status(400, `{"error":{"message":"`+message(id)+`"}}`), nil
		}
	}
	var mixed atomic.Int64
	for _, c := range []struct {
		name     string
		cfg      batch.Config
		metadata map[string]string
		lines    int
		answer   func(context.Context, string, int) (batch.Answer, error)
	}{
		{"small", batch.Config{}, nil, 99, fails(func(string) string { return "bad parameter" })},
		{"off", batch.Config{StopAfter: batch.NoStop}, nil, 500, fails(func(string) string { return "bad parameter" })},
		{"off for the batch", batch.Config{}, map[string]string{batch.StopAfterKey: "off"}, 500, fails(func(string) string { return "bad parameter" })},
		{"more for the batch", batch.Config{}, map[string]string{batch.StopAfterKey: "501"}, 500, fails(func(string) string { return "bad parameter" })},
		{"one success in 20", batch.Config{MaxInFlight: 1}, nil, 500, func(_ context.Context, id string, _ int) (batch.Answer, error) {
			if mixed.Add(1)%20 == 0 {
				return batchtest.OK(id), nil
			}
			return batchtest.Status(400, `{"error":{"message":"bad parameter"}}`), nil
		}},
		{"other errors", batch.Config{MaxInFlight: 1}, nil, 500, fails(func(id string) string {
			return "wrong " + strings.Repeat("x", int(id[len(id)-1]-'0'))
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, c.cfg)
			h.Pool.Answer = c.answer
			h.Open()
			made, err := h.Engine.CreateBatch(t.Context(), tenant, batch.CreateRequest{
				InputFileID: h.Upload(batchtest.Input(c.lines)), Endpoint: "/v1/chat/completions", CompletionWindow: "24h", Window: 24 * time.Hour, Metadata: c.metadata,
			})
			if err != nil {
				t.Fatal(err)
			}
			b := h.Wait(made.ID)
			h.Check(b, c.lines)
			if b.Status != batch.Completed {
				t.Errorf("got %s, want completed", b.Status)
			}
		})
	}
}

// A batch can set a lower limit of failures than the default.
func TestStopAfterOfOneBatch(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 1, StopAfter: batch.NoStop})
	var server refusing
	h.Pool.Answer = server.answer
	h.Open()
	made, err := h.Engine.CreateBatch(t.Context(), tenant, batch.CreateRequest{
		InputFileID: h.Upload(batchtest.Input(200)), Endpoint: "/v1/chat/completions", CompletionWindow: "24h", Window: 24 * time.Hour,
		Metadata: map[string]string{batch.StopAfterKey: "7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if b := h.paused(made.ID); !strings.HasPrefix(b.PauseReason, "7 lines") {
		t.Errorf("got reason %q, want 7 lines", b.PauseReason)
	}
}

// A batch that the gateway paused expires at its deadline, with what failed and
// what never ran in its error file.
func TestPausedFailingBatchExpires(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 5, StopAfter: 10, ExpireInterval: 5 * time.Millisecond})
	var server refusing
	h.Pool.Answer = server.answer
	var passed atomic.Int64
	h.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	h.Open()
	id := h.CreateFor(h.Upload(batchtest.Input(500)), time.Hour)
	h.paused(id)
	passed.Store(int64(2 * time.Hour))
	b := h.Wait(id)
	errs := h.Check(b, 500)
	if b.Status != batch.Expired || b.PauseReason != "" || len(errs) != 500 || b.Counts.Failed > 15 {
		t.Errorf("got %s, reason %q, %d errors, %+v; want expired, no reason, 500 errors and at most 15 failed", b.Status, b.PauseReason, len(errs), b.Counts)
	}
}

// A store that does not take the pause costs more failures, not the pause.
func TestPauseThatTheStoreRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 5, StopAfter: 10})
	var server refusing
	h.Pool.Answer = server.answer
	h.Open()
	var refused atomic.Int64
	h.Store.BeforePause.Store(new(func() error {
		if refused.Add(1) == 1 {
			return errors.Join(batch.ErrUnavailable)
		}
		return nil
	}))
	id := h.Create(h.Upload(batchtest.Input(500)))
	h.paused(id)
	if refused.Load() < 2 {
		t.Errorf("got %d pauses, want another after the one that failed", refused.Load())
	}
}
