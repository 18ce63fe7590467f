package engine_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

func TestStoreAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]error{"disk full": batch.ErrNoSpace, "store gone": batch.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, batch.Config{MaxInFlight: 25})
			h.Open()
			refused := make(chan struct{}, 1000)
			var back atomic.Bool
			hook := func([]batch.SegmentWrite) error {
				if back.Load() {
					return nil
				}
				refused <- struct{}{}
				return away
			}
			h.Store.BeforeCommit.Store(&hook)
			id := h.Create(h.Upload(batchtest.Input(200)))
			<-refused
			<-refused
			if health := h.Engine.Health(t.Context()); len(health.Paused) == 0 || !strings.Contains(health.Paused[0].Text, away.Error()) {
				t.Errorf("health does not say why: %+v", health)
			}
			h.Pool.Lock()
			started := len(h.Pool.Calls)
			h.Pool.Unlock()
			if started > 25 {
				t.Errorf("%d lines were run though nothing could be committed", started)
			}
			back.Store(true)
			b := h.Wait(id)
			h.Check(b, 200)
			if r := h.Pool.Repeated(); r != 0 {
				t.Errorf("%d calls repeated: results were to be held", r)
			}
			if health := h.Engine.Health(t.Context()); !health.OK() {
				t.Errorf("health stays bad: %+v", health)
			}
		})
	}
}

func TestCommitOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 40})
	h.Open()
	var n atomic.Int64
	hook := func(writes []batch.SegmentWrite) error {
		if n.Add(1)%2 == 1 {
			// Committed, but the answer is lost.
			if _, err := h.Store.Store.CommitResults(t.Context(), writes); err != nil {
				return err
			}
			return fmt.Errorf("connection lost: %w", batch.ErrUnavailable)
		}
		return nil
	}
	h.Store.BeforeCommit.Store(&hook)
	b := h.Wait(h.Create(h.Upload(batchtest.Input(300))))
	h.Check(b, 300)
	if b.Counts.Completed != 300 || b.Usage.TotalTokens != 1500 {
		t.Errorf("counted twice: %+v %+v", b.Counts, b.Usage)
	}
}
