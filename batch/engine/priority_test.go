package engine_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// order answers one line at a time and records the order of the lines.
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
		return batchtest.OK(id), nil
	case <-ctx.Done():
		return batch.Answer{}, ctx.Err()
	}
}

// A batch of a higher priority runs first, also when the priority is set while lines of
// other batches wait, and on a gateway without a notification.
func TestPriority(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{MaxInFlight: 1, MaxConcurrentBatches: 1}, 1)
	working := s.Members[0]
	o := &order{step: make(chan struct{}), begun: make(chan string)}
	working.Pool.Set(func() { working.Pool.Answer = o.answer })

	low := working.Create(working.Upload(batchtest.InputFrom(0, 200)))
	<-o.begun
	high := working.Create(working.Upload(batchtest.InputFrom(1000, 20)))
	if b, err := s.Store.PrioritizeBatch(t.Context(), tenant, high, 50); err != nil || b.Priority != 50 {
		t.Fatalf("%+v, %v", b, err)
	}
	// The one that runs may have had lines loaded, but none of them starts
	// before those of the other.
	batchtest.Until(t, "the batch is started", func() bool { return working.Get(high).Status == batch.InProgress })
	seen := s.Store.Refreshes.Load()
	batchtest.Until(t, "it has asked again", func() bool { return s.Store.Refreshes.Load() >= seen+2 })
	// What waits gets its place when the next line ends at the latest.
	finished := 0
	for deadline := time.After(batchtest.Patience); finished < 60; finished++ {
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
		if id >= batchtest.CustomID(1000) {
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
	working.Check(working.Wait(low), 200)
	working.Wait(high)
	close(o.begun)
}
