package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/queue/memory"
)

var errRefusedPlace = errors.New("it was refused for its files")

// crossing is a store to which gateways announce themselves at the same moment:
// as in a database, none of them sees the others yet.
type crossing struct {
	*sharedStore
	there *sync.WaitGroup

	mu    sync.Mutex
	known map[string]bool // guarded by mu
}

func (s *crossing) Capabilities() batch.StoreCapabilities {
	c := s.sharedStore.Capabilities()
	c.Membership = s
	return c
}

func (s *crossing) Announce(ctx context.Context, a batch.Peer, ttl time.Duration) ([]batch.Peer, error) {
	others, err := s.sharedStore.Announce(ctx, a, ttl)
	s.mu.Lock()
	again := s.known[a.ID]
	s.known[a.ID] = true
	s.mu.Unlock()
	if again {
		return others, err
	}
	s.there.Done()
	s.there.Wait()
	return nil, err
}

// Of gateways with different files that start at the same moment, not all stay.
func TestOtherFilesAtTheSameMoment(t *testing.T) {
	var there sync.WaitGroup
	there.Add(2)
	s := &crossing{sharedStore: newStreet(t, batch.Config{}, 0).store, there: &there, known: map[string]bool{}}
	opened := make(chan error, 2)
	for _, place := range []string{"/here", "/elsewhere"} {
		engine := engine.NewEngine(batch.Config{}, s, memory.New(), sharedFiles{nopFiles{}, place}, newFakePool(), zap.NewNop())
		go func() {
			err := engine.Open(t.Context())
			if err == nil {
				err = engine.Stop(t.Context())
			} else if strings.Contains(err.Error(), "/here") && strings.Contains(err.Error(), "/elsewhere") {
				err = errRefusedPlace
			}
			opened <- err
		}()
	}
	refused := 0
	for range 2 {
		if err := <-opened; errors.Is(err, errRefusedPlace) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused == 0 {
		t.Error("both were taken")
	}
}

// Files that turn out to be others when two gateways work already are said to
// be so: one of them was silent when the other came.
func TestOtherFilesAreNoticed(t *testing.T) {
	s := newStreet(t, batch.Config{}, 0)
	engine := engine.NewEngine(batch.Config{}, s.store, memory.New(), sharedFiles{nopFiles{}, "/here"}, newFakePool(), zap.NewNop())
	if err := engine.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine.Start()
	other := batch.Peer{ID: "other", Host: "elsewhere", Place: "/elsewhere"}
	if _, err := s.store.Announce(t.Context(), other, time.Minute); err != nil {
		t.Fatal(err)
	}
	told := func() bool {
		return strings.Contains(strings.Join(engine.Health(t.Context()).Paused, "\n"), "with other files (/elsewhere)")
	}
	until(t, "it says so", told)
	if err := s.store.Withdraw(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
	until(t, "all is well again", func() bool { return !told() })
	if err := engine.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
