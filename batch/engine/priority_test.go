package engine_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// order is a pool that does one line at a time and remembers of which batch.
type order struct {
	mu    sync.Mutex
	ids   []string // guarded by mu
	step  chan struct{}
	begun chan string
}

func (o *order) answer(ctx context.Context, id string, _ int) (batch.Answer, error) {
	o.mu.Lock()
	o.ids = append(o.ids, id)
	o.mu.Unlock()
	select {
	case o.begun <- id:
	case <-ctx.Done():
	}
	select {
	case <-o.step:
		return ok(id), nil
	case <-ctx.Done():
		return batch.Answer{}, ctx.Err()
	}
}

// A larger priority goes first, also when it is given while lines of others
// wait, and on a gateway that nobody told.
func TestPriority(t *testing.T) {
	s := newStreet(t, batch.Config{MaxInFlight: 1, MaxConcurrentBatches: 1}, 1)
	working := s.houses[0]
	o := &order{step: make(chan struct{}), begun: make(chan string)}
	working.pool.set(func() { working.pool.answer = o.answer })

	low := working.create(working.upload(inputFrom(0, 200)))
	<-o.begun
	high := working.create(working.upload(inputFrom(1000, 20)))
	if b, err := s.store.PrioritizeBatch(t.Context(), tenant, high, 50); err != nil || b.Priority != 50 {
		t.Fatalf("%+v, %v", b, err)
	}
	// The one that runs may have had lines loaded, but none of them starts
	// before those of the other.
	until(t, "the batch is started", func() bool { return working.get(high).Status == batch.InProgress })
	seen := s.store.refreshes.Load()
	until(t, "it has asked again", func() bool { return s.store.refreshes.Load() >= seen+2 })
	// What waits gets its place when the next line ends at the latest.
	finished := 0
	for deadline := time.After(patience); finished < 60; finished++ {
		select {
		case o.step <- struct{}{}:
			<-o.begun
		case <-deadline:
			t.Fatal("nothing runs")
		}
	}
	o.mu.Lock()
	ids := o.ids[:60]
	o.mu.Unlock()
	late := 0
	for i, id := range ids {
		if id >= customID(1000) {
			late = i
		}
	}
	// Its slice must be claimed and read first: a few lines of the other pass.
	if late == 0 || late > 45 {
		t.Errorf("the last line of the larger priority was number %d of all: %v", late, ids)
	}
	close(o.step)
	go func() {
		for range o.begun {
		}
	}()
	working.check(working.wait(low), 200)
	working.wait(high)
	close(o.begun)
}
