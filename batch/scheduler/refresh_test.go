package scheduler

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// manyActive is a store with a number of active batches. It counts refreshes.
type manyActive struct {
	batch.Store
	batches []batch.Batch
	asked   atomic.Int64
}

func (s *manyActive) ActiveBatches(context.Context, int) ([]batch.Batch, error) {
	s.asked.Add(1)
	return s.batches, nil
}

// room is a file store with free space.
type room struct{ batch.Files }

func (room) Ping(context.Context) error { return nil }

// idlePool is a dispatcher without slots.
type idlePool struct{ batch.Dispatcher }

func (idlePool) Freed() <-chan struct{} { return nil }
func (idlePool) Slots() int             { return 0 }

func (idlePool) Capabilities() (c batch.DispatcherCapabilities) { return c }

// TestRefreshPauses requests refreshes continuously, as when many batches are created. The
// more batches are active, the less often the store is read.
func TestRefreshPauses(t *testing.T) {
	store := &manyActive{batches: make([]batch.Batch, 400)}
	for i := range store.batches {
		store.batches[i] = batch.Batch{ID: strconv.Itoa(i), PausedAt: time.Now()}
	}
	d := dependencies(batch.Config{})
	d.Store, d.Files, d.Dispatcher = store, room{}, idlePool{}
	synctest.Test(t, func(t *testing.T) {
		s := New(d)
		begin := time.Now()
		s.Start()
		for store.asked.Load() < 5 { // as soon as possible
			s.Refresh()
			time.Sleep(time.Millisecond)
		}
		if took, least := time.Since(begin), 4*time.Duration(len(store.batches))*refreshDelay; took < least {
			t.Errorf("time from the first to the fifth refresh: got %s, want at least %s", took, least)
		}
		s.Stop()
	})
}
