package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Lines that an engine kept when it stopped, and then does not finish after
// all, are run by another: those that it aborts when its time is over, and those
// that failed in a way that may pass.
func TestKeptLinesAreNotLost(t *testing.T) {
	const lines, running = 100, 10
	for name, aborted := range map[string]bool{"aborted": true, "failed": false} {
		t.Run(name, func(t *testing.T) {
			s := newStreet(t, batch.Config{MaxInFlight: running, Lease: time.Hour}, 2)
			leaving, staying := s.houses[0], s.houses[1]
			staying.pool.set(func() { staying.pool.slots = 0 })
			leaving.pool.received = make(chan string, lines)
			open := make(chan struct{})
			leaving.pool.answer = func(ctx context.Context, _ string, _ int) (batch.Answer, error) {
				if aborted {
					<-ctx.Done()
					return batch.Answer{}, ctx.Err()
				}
				<-open
				return status(503, `{}`), nil
			}
			id := leaving.create(leaving.upload(input(lines)))
			for range running {
				<-leaving.pool.received
			}
			staying.pool.set(func() { staying.pool.slots = running })
			ctx, stop := context.WithCancel(context.Background())
			stopped := make(chan error)
			go func() { stopped <- leaving.engine.Stop(ctx) }()
			staying.waitCounted(id, lines-running)
			close(open)
			if aborted {
				stop()
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			stop()
			leaving.engine = nil
			b := staying.wait(id)
			staying.check(b, lines)
			again := 0
			for _, n := range s.callsOf() {
				again += n - 1
			}
			if again != running {
				t.Errorf("%d calls repeated, want the %d that came to nothing", again, running)
			}
		})
	}
}

// Lines that a gateway kept which died are run again when its lease has ended.
func TestKeptLinesOfTheDead(t *testing.T) {
	const lines, left = 300, 2 // slice that it has parted with
	s := newStreet(t, batch.Config{MaxInFlight: 10}, 1)
	h := s.houses[0]
	h.pool.set(func() { h.pool.slots = 0 })
	id := h.create(h.upload(input(lines)))
	until(t, "the batch is planned", func() bool { return h.get(id).Status == batch.InProgress })
	claimed, err := s.store.Store.ClaimSlices(t.Context(), batch.Claimant{Owner: "dying", Lease: time.Hour}, []batch.SliceRef{{BatchID: id, Number: left}})
	if err != nil || len(claimed) != 1 {
		t.Fatalf("claimed %d slices: %v", len(claimed), err)
	}
	kept := []batch.Release{{SliceClaim: claimed[0].SliceClaim, Keep: 0b1011}}
	if err := s.store.Store.ReleaseSlices(t.Context(), kept, 4*time.Second); err != nil {
		t.Fatal(err)
	}
	h.pool.set(func() { h.pool.slots = 10 })
	h.waitCounted(id, lines-3)
	calls := s.callsOf()
	for _, i := range []int{0, 1, 3} {
		if line := customID(left*batch.SliceLines + i); calls[line] != 0 {
			t.Errorf("%s ran although another kept it", line)
		}
	}
	b := h.wait(id)
	h.check(b, lines)
	s.wantOnce(t, lines)
}
