package engine_test

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
)

// Outside of the hours lines that run finish, no line starts and nothing is
// claimed. Batches continue when the hours begin.
func TestHours(t *testing.T) {
	t.Parallel()
	h, id, hold := newHeldHarness(t, batch.Config{MaxInFlight: 20}, 500)
	opens := time.Now().Add(time.Hour)
	h.Pool.Set(func() { h.Pool.Closing = &batch.Closing{Until: opens} })
	want := "outside of its hours until " + opens.Format("15:04 MST")
	if got := h.Engine.Health(t.Context()); got.Hours != want || !got.OK() {
		t.Errorf("health: got hours %q and OK %v, want %q and true", got.Hours, got.OK(), want)
	}
	close(hold)
	h.WaitIdle(id, 20)
	other := h.Create(h.Upload(batchtest.InputFrom(500, 3)))
	batchtest.Until(t, "the other is validated", func() bool { return h.Get(other).Status == batch.InProgress })
	if got := h.Engine.WaitReason(t.Context(), h.Get(other)); got != want {
		t.Errorf("wait reason: got %q, want %q", got, want)
	}
	estimates, err := h.Engine.Estimates(t.Context(), h.Get(id))
	if err != nil || estimates[id].Remaining != nil || estimates[id].MissesDeadline != nil {
		t.Errorf("estimate: got %+v and error %v, want nothing of the rest", estimates[id], err)
	}
	if n := h.Pool.CallCount(); n != 20 {
		t.Errorf("got %d lines sent, want the 20 from before", n)
	}
	refs, err := h.Store.ClaimableSlices(t.Context(), id, 100)
	if err != nil || len(refs) == 0 {
		t.Errorf("got %d slices that others can claim and error %v, want some", len(refs), err)
	}

	h.Pool.Set(func() { h.Pool.Closing = nil })
	for _, id := range []string{id, other} {
		if b := h.Wait(id); b.Status != batch.Completed || h.Engine.WaitReason(t.Context(), b) != "" {
			t.Errorf("%s ended as %s, wait reason %q", id, b.Status, h.Engine.WaitReason(t.Context(), b))
		}
	}
	if r := h.Pool.Repeated(); r != 0 {
		t.Errorf("got %d calls repeated, want none", r)
	}
}

// A gateway that is started outside of the hours starts nothing until they come.
func TestStartOutsideOfHours(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Set(func() { h.Pool.Closing = &batch.Closing{} })
	h.Open()
	engine.LookOften(h.Engine)
	id := h.Create(h.Upload(batchtest.Input(70)))
	batchtest.Until(t, "it is validated", func() bool { return h.Get(id).Status == batch.InProgress })
	batchtest.Until(t, "it is late, because the hours never come", func() bool {
		late, err := h.Engine.BatchesAtRisk(t.Context(), tenant)
		return err == nil && len(late) == 1 && late[0].Why == engine.RiskClosed
	})
	h.Pool.Set(func() { h.Pool.Closing = &batch.Closing{Until: time.Now().Add(time.Hour)} })
	late, err := h.Engine.BatchesAtRisk(t.Context(), tenant)
	if err != nil || len(late) != 0 {
		t.Errorf("got %d late batches and error %v, want none: the deadline is in a day", len(late), err)
	}
	if n := h.Pool.CallCount(); n != 0 {
		t.Errorf("got %d lines sent, want none", n)
	}
	h.Pool.Set(func() { h.Pool.Closing = nil })
	if b := h.Wait(id); b.Status != batch.Completed {
		t.Errorf("it ended as %s", b.Status)
	}
}

func TestClosing(t *testing.T) {
	t.Parallel()
	day := time.Now().Add(48 * time.Hour)
	for _, c := range []struct {
		until time.Time
		want  string
	}{
		{time.Time{}, "outside of its hours, which never come"},
		{day, "outside of its hours until " + day.Format("Mon 2006-01-02 15:04 MST")},
	} {
		if got := (batch.Closing{Until: c.until}).String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
